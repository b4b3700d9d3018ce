//! Decides which pods belong to the mesh and leads each through its life there: a roster read from
//! a document, a state machine per pod, and the table of all pods of the node.
//! It refuses to do anything itself: what must be undone after a failure is returned as data, and
//! what it cannot know (a pod nobody listed) is answered `Unknown`, never "outside the mesh".
//! It owns the rules of membership, the order of enrolment and of undoing it, and the shape of the
//! state that survives a restart.

#![forbid(unsafe_code)]

mod changes;
mod decide;
mod life;
mod record;
mod roster;
mod table;

pub use changes::{Action, Change, changes};
pub use decide::{DATAPLANE_MODE_LABEL, Decision, Member, decide};
pub use life::{Event, LeaveReason, Obligation, OutOfOrder, Stage, Step, Traffic};
pub use record::{
    AttachmentKey, NamespaceId, Phase, PodKey, PodRecord, PodRef, Recorded, SNAPSHOT_VERSION,
    Snapshot, SnapshotError,
};
pub use roster::{ListedPod, Place, PodsFile, Roster, RosterMistakes};
pub use table::{Begun, Entry, Table, TableError};

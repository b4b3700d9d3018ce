//! Decides which pods belong to the mesh and leads each through its life there: a roster, read from a
//! document or made of what the API server tells, a state machine per pod, and the table of all pods
//! of the node.
//! It refuses to do anything itself: what must be undone after a failure is returned as data, and
//! what it cannot know (a pod nobody listed) is answered `Unknown`, never "outside the mesh".
//! It owns the rules of membership, the order of enrolment and of undoing it, and the shape of the
//! state that survives a restart.

#![forbid(unsafe_code)]

mod annotate;
mod changes;
mod cluster;
mod decide;
mod facts;
mod life;
mod quota;
mod record;
mod roster;
mod selectors;
mod table;

pub use annotate::{Annotate, annotations};
pub use changes::{Action, Change, changes};
pub use cluster::{Cluster, Counts, Effect, Fact, FoundPlace, Notice};
pub use decide::{Asked, Decision, Member, OnUnknown, decide, decide_asked};
pub use facts::{NamespaceFacts, PodFacts, PodPhase, REDIRECTION_ANNOTATION, Rules};
pub use life::{Event, LeaveReason, Obligation, OutOfOrder, Stage, Step, Traffic};
pub use quota::{Quota, Verdict};
pub use record::{
    AttachmentKey, NamespaceId, Phase, PodKey, PodRecord, PodRef, Recorded, SNAPSHOT_VERSION,
    Snapshot, SnapshotError,
};
pub use roster::{
    Barred, ListedPod, Place, PodsFile, Progress, Roster, RosterMistakes, Seen, Source,
};
pub use selectors::{
    DATAPLANE_MODE_LABEL, EnablementSelector, LabelSelector, Labels, Operator, Requirement,
    SelectorMistake, Selectors,
};
pub use table::{Begun, Entry, Table, TableError};

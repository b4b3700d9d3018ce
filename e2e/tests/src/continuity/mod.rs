//! Connections while parts of agents die, are replaced, or pods come and go: load between two nodes with real pods, what is
//! done meanwhile, and figures.

mod chaos;
mod clock;
mod dice;
mod event;
mod figures;
mod load;
mod report;
mod scene;
mod tenant;

pub use chaos::{Chaos, Deeds, Descriptors, Over};
pub use clock::{Blow, now_ms};
pub use dice::Dice;
pub use event::{Event, Party};
pub use figures::{Figures, Long, New, Series};
pub use load::{Load, Shape};
pub use report::{Break, Failure, Report, Wait};
pub use scene::{MARKER, PORT, Scene, Span, echo, enrolled};
pub use tenant::{Admission, Tenant};

/// How often each case is repeated.
pub const REPETITIONS: usize = 10;

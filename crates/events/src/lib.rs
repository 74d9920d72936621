//! The event recorder that controllers and node agents share.
//!
//! Events are what `kubectl describe` shows at its end. They are a courtesy: recording one never
//! waits, and an event that cannot be written is dropped with a debug line. An [`EventRecorder`]
//! puts events into a bounded queue; one [`EventWriter`] per process takes them out, asks the
//! `correlate` module (pure) what becomes of each, and makes the request.
//!
//! The rules are those of client-go's `record.EventCorrelator`: a source may emit 25 events about
//! one object at once and then one in five minutes, and a repeated event raises the `count` of the
//! object that exists. `kube::runtime::events::Recorder` was considered. It does not fit: it awaits
//! the request where the event happens, it has no spam filter, it reads the machine's clock instead
//! of the runtime's virtual one, and it writes `events.k8s.io/v1` objects without `count`,
//! `firstTimestamp` and `source`, which upstream's controllers and kubelets fill in.

mod bucket;
mod correlate;
mod pending;
mod recorder;
mod write;

pub use bucket::RateLimit;
pub use pending::EventType;
pub use recorder::{EventBroadcaster, EventRecorder};
pub use write::EventWriter;

//! For tests only: a whole cluster in a test process, and the replay of recorded conversations.

pub mod golden;

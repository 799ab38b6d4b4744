//! Servers that are away, answers that are lost, processes that are killed, records that nobody can use.

mod backpressure;
mod chaos;
mod crash_points;
mod lost_answers;
mod poison;

//! What is read in place against the long way, and questions asked without a task against scripted servers.

mod asked;
mod generated;
mod read;

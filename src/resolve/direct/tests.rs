//! What is read in place against the long way, and questions asked without a task against scripted servers.

mod generated;
mod read;

//! Several replicas together: what the shared stores promise, and what real processes on a real server
//! keep.

mod contract;
mod gossip;
mod processes;

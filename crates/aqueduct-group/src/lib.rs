//! aqueduct-group
mod tracker;

//! aqueduct-sqlite

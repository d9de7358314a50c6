//! The aggregation format of the Kinesis Producer Library.

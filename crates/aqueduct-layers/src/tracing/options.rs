/// How events are traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingOptions {
    /// Whether a trace that begins here is marked as recorded. A trace that is continued keeps its
    /// mark. Default: `true`; set `false` if most requests are not recorded.
    pub sampled: bool,
}

impl Default for TracingOptions {
    fn default() -> Self {
        Self { sampled: true }
    }
}

use uuid::Uuid;

use crate::{Event, SmallStr};

impl Event {
    /// Marks this event as caused by `cause`, the `n`th of its type. The id is derived from the
    /// cause's source and id, this event's type and `n`, so that a handler that runs again publishes
    /// the same id. Key, trace (`traceparent`, `tracestate`) and `correlationid` are inherited if
    /// this event has none; `causationid` is set to the cause's id. Call it after setting the type
    /// and the key.
    #[must_use]
    pub fn caused_by(mut self, cause: &Self, n: u32) -> Self {
        const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_59c2_9d3b_5b0e_8a51_2f40_6b0c_77d1);
        let mut name = Vec::with_capacity(cause.source.len() + self.kind.len() + 56);
        for part in [cause.source.as_bytes(), self.kind.as_bytes()] {
            name.extend_from_slice(&(part.len() as u64).to_be_bytes());
            name.extend_from_slice(part);
        }
        name.extend_from_slice(&n.to_be_bytes());
        cause
            .id
            .with_str(|id| name.extend_from_slice(id.as_bytes()));
        self.id = Uuid::new_v5(&NAMESPACE, &name).into();
        if self.key.is_none() {
            self.key = cause.key.clone();
        }
        let cause_id = cause.id.with_str(|id| SmallStr::from(id));
        let correlation = cause.attributes.get("correlationid").cloned();
        for (name, value) in [
            ("traceparent", cause.attributes.get("traceparent").cloned()),
            ("tracestate", cause.attributes.get("tracestate").cloned()),
            (
                "correlationid",
                correlation.or_else(|| Some(cause_id.clone().into())),
            ),
        ] {
            if let (None, Some(value)) = (self.attributes.get(name), value) {
                self.attributes.set_checked(SmallStr::literal(name), value);
            }
        }
        self.attributes
            .set_checked(SmallStr::literal("causationid"), cause_id.into());
        self
    }

    /// Sets the trace parent in the format of W3C Trace Context (CloudEvents: `traceparent`).
    #[must_use]
    pub fn with_traceparent(self, traceparent: impl Into<SmallStr>) -> Self {
        self.with_known("traceparent", traceparent.into())
    }

    /// Sets the id that all events of one business process share (`correlationid`).
    #[must_use]
    pub fn with_correlation_id(self, id: impl Into<SmallStr>) -> Self {
        self.with_known("correlationid", id.into())
    }

    /// Returns the trace parent in the format of W3C Trace Context (CloudEvents: `traceparent`).
    pub fn traceparent(&self) -> Option<&str> {
        self.attributes.get("traceparent")?.as_str()
    }

    /// Returns the id that all events of one business process share (`correlationid`).
    pub fn correlation_id(&self) -> Option<&str> {
        self.attributes.get("correlationid")?.as_str()
    }

    /// Returns the id of the event that caused this one (`causationid`); see
    /// [`caused_by`](Self::caused_by).
    pub fn causation_id(&self) -> Option<&str> {
        self.attributes.get("causationid")?.as_str()
    }

    fn with_known(mut self, name: &'static str, value: SmallStr) -> Self {
        self.attributes
            .set_checked(SmallStr::literal(name), value.into());
        self
    }
}

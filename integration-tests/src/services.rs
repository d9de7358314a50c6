use std::collections::BTreeMap;

/// An AWS service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Kinesis,
    Dynamodb,
    Sqs,
}

impl Service {
    const ALL: [Self; 3] = [Self::Kinesis, Self::Dynamodb, Self::Sqs];

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.name() == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("unknown service `{name}` (expected one of {known})")
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kinesis => "kinesis",
            Self::Dynamodb => "dynamodb",
            Self::Sqs => "sqs",
        }
    }

    /// Returns the environment variable of its endpoint.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Kinesis => "AWS_ENDPOINT_URL_KINESIS",
            Self::Dynamodb => "AWS_ENDPOINT_URL_DYNAMODB",
            Self::Sqs => "AWS_ENDPOINT_URL_SQS",
        }
    }
}

/// The location of the services.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Emulators at these endpoints.
    Emulators(BTreeMap<Service, String>),
    /// The account of the process's own environment.
    Account,
}

impl Place {
    /// Returns the options for the query of a URL.
    pub(crate) fn options(&self, service: Service) -> Result<Vec<(&'static str, String)>, String> {
        match self {
            Self::Account => Ok(Vec::new()),
            Self::Emulators(endpoints) => {
                let endpoint = endpoints
                    .get(&service)
                    .ok_or_else(|| format!("nothing here serves {}", service.name()))?;
                Ok(vec![
                    ("region", REGION.into()),
                    ("endpoint", endpoint.clone()),
                ])
            }
        }
    }
}

/// The region used with emulators.
pub(crate) const REGION: &str = "eu-west-1";

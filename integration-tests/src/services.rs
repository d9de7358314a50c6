use std::collections::BTreeMap;

/// A service that an emulator serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Kinesis,
    Dynamodb,
    Sqs,
    /// Azure Blob Storage.
    Blob,
}

impl Service {
    const ALL: [Self; 4] = [Self::Kinesis, Self::Dynamodb, Self::Sqs, Self::Blob];

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
            Self::Blob => "blob",
        }
    }

    /// Returns the environment variable of its endpoint.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Kinesis => "AWS_ENDPOINT_URL_KINESIS",
            Self::Dynamodb => "AWS_ENDPOINT_URL_DYNAMODB",
            Self::Sqs => "AWS_ENDPOINT_URL_SQS",
            Self::Blob => "AZURE_STORAGE_ENDPOINT",
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
                if service == Service::Blob {
                    return Ok(vec![
                        ("endpoint", format!("{endpoint}/{AZURITE_ACCOUNT}")),
                        ("access_key", AZURITE_KEY.into()),
                    ]);
                }
                Ok(vec![
                    ("region", REGION.into()),
                    ("endpoint", endpoint.clone()),
                ])
            }
        }
    }
}

/// The account of Azurite, with the key that its documentation prints.
pub(crate) const AZURITE_ACCOUNT: &str = "devstoreaccount1";
pub(crate) const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The region used with emulators.
pub(crate) const REGION: &str = "eu-west-1";

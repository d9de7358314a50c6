use std::fmt;

/// What a link is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Cbs,
    Management,
    Hub {
        hub: String,
    },
    Partition {
        hub: String,
        partition: String,
    },
    Receiver {
        hub: String,
        group: String,
        partition: String,
    },
}

impl Node {
    /// Reads an address, with or without scheme and host.
    pub(super) fn parse(address: &str) -> Option<Self> {
        let parts: Vec<_> = path(address).split('/').collect();
        let is = |part: &str, name: &str| part.eq_ignore_ascii_case(name);
        Some(match parts[..] {
            [cbs] if is(cbs, "$cbs") => Self::Cbs,
            [.., management] if is(management, "$management") => Self::Management,
            [hub] if !hub.is_empty() => Self::Hub {
                hub: hub.to_owned(),
            },
            [hub, partitions, partition] if is(partitions, "Partitions") => Self::Partition {
                hub: hub.to_owned(),
                partition: partition.to_owned(),
            },
            [hub, groups, group, partitions, partition]
                if is(groups, "ConsumerGroups") && is(partitions, "Partitions") =>
            {
                Self::Receiver {
                    hub: hub.to_owned(),
                    group: group.to_owned(),
                    partition: partition.to_owned(),
                }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cbs => f.write_str("$cbs"),
            Self::Management => f.write_str("$management"),
            Self::Hub { hub } => f.write_str(hub),
            Self::Partition { hub, partition } => write!(f, "{hub}/Partitions/{partition}"),
            Self::Receiver {
                hub,
                group,
                partition,
            } => write!(f, "{hub}/ConsumerGroups/{group}/Partitions/{partition}"),
        }
    }
}

/// Returns the path of an address or audience, without slashes at its ends.
pub(super) fn path(address: &str) -> &str {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address,
    };
    path.trim_matches('/')
}

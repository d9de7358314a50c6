//! A container that is missing or read-only, and a wrong key: what opening the store says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aqueduct_core::{ErrorKind, Timestamp};

use super::container::signature;
use super::{Cloud, open};
use crate::services::{AZURITE_ACCOUNT, AZURITE_KEY};

const VERSION: &str = "2021-08-06";

/// Checks what is refused on `container`, and how.
pub(super) async fn check(cloud: &Cloud, container: &str) -> Result<(), String> {
    let wrong_key = "aHVudGVyMmh1bnRlcjI=";
    let read_only = read_only(container)?;
    for (what, container, options, kind, says) in [
        (
            "a missing container",
            "no-such-container",
            ("access_key", AZURITE_KEY),
            ErrorKind::NotFound,
            "does not exist",
        ),
        (
            "a wrong key",
            container,
            ("access_key", wrong_key),
            ErrorKind::Denied,
            "lack a permission",
        ),
        (
            "a read-only container",
            container,
            ("sas_token", &*read_only),
            ErrorKind::Denied,
            "lack a permission",
        ),
    ] {
        let runtime = aqueduct_runtime::tokio();
        let store = open(cloud, container, "refused", &[options]).map_err(|it| it.to_string())?;
        let Err(error) = store.leases(&runtime).await else {
            return Err(format!("{what} was not refused"));
        };
        let said = format!("{error:?}");
        if error.kind() != kind || !said.contains(says) {
            return Err(format!(
                "{what}: expected {kind} and `{says}`, found {said}"
            ));
        }
        if said.contains(wrong_key) || said.contains("sig=") {
            return Err(format!("{what}: a secret is printed"));
        }
    }
    Ok(())
}

/// Returns a signature of the container that allows reading and listing for an hour.
fn read_only(container: &str) -> Result<String, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let until = since.map_err(|error| error.to_string())? + Duration::from_secs(3600);
    let millis = i64::try_from(until.as_secs() * 1000).map_err(|error| error.to_string())?;
    let until = Timestamp::from_millis(millis).to_string();
    let signed = format!(
        "rl\n\n{until}\n/blob/{AZURITE_ACCOUNT}/{container}\n\n\nhttps,http\n{VERSION}\nc\n\n\n\n\n\n\n"
    );
    let encoded = |text: String| {
        text.replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D")
            .replace(':', "%3A")
    };
    let (until, signature) = (encoded(until), encoded(signature(&signed)?));
    Ok(format!(
        "sp=rl&se={until}&spr=https%2Chttp&sv={VERSION}&sr=c&sig={signature}"
    ))
}

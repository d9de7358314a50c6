//! Makes a container: `object_store` has no call for it.

use std::time::{SystemTime, UNIX_EPOCH};

use aqueduct_core::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Cloud;
use crate::services::{AZURITE_ACCOUNT, AZURITE_KEY, Service};

const VERSION: &str = "2021-08-06";

/// Creates a container of the emulator, whose account is part of the path.
pub(super) async fn create(cloud: &Cloud, name: &str) -> Result<(), String> {
    let options = cloud.place.options(Service::Blob)?;
    let endpoint = options.iter().find(|(key, _)| *key == "endpoint");
    let (_, endpoint) = endpoint.ok_or("the emulator has no endpoint")?;
    let (host, _) = endpoint
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or_else(|| format!("{endpoint}: expected http://HOST:PORT/ACCOUNT"))?;
    let date = rfc1123(SystemTime::now())?;
    let path = format!("/{AZURITE_ACCOUNT}/{name}");
    let signed = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{VERSION}\n/{AZURITE_ACCOUNT}{path}\nrestype:container"
    );
    let signature = signature(&signed)?;
    let request = format!(
        "PUT {path}?restype=container HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\
         x-ms-date: {date}\r\nx-ms-version: {VERSION}\r\n\
         Authorization: SharedKey {AZURITE_ACCOUNT}:{signature}\r\nConnection: close\r\n\r\n"
    );
    let ask = async {
        let mut connection = TcpStream::connect(host).await?;
        connection.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        connection.read_to_string(&mut response).await?;
        Ok::<_, std::io::Error>(response)
    };
    let response = ask.await.map_err(|error| format!("{host}: {error}"))?;
    match response.starts_with("HTTP/1.1 201") {
        true => Ok(()),
        false => Err(format!("container {name} was not created: {response}")),
    }
}

/// Signs a text with the account's key.
pub(super) fn signature(text: &str) -> Result<String, String> {
    Ok(STANDARD.encode(hmac(AZURITE_KEY, text)?))
}

/// HMAC-SHA-256 (RFC 2104) with a key in Base64 of at most a block.
fn hmac(key: &str, text: &str) -> Result<Vec<u8>, String> {
    let mut block = STANDARD.decode(key).map_err(|error| error.to_string())?;
    block.resize(64, 0);
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text);
    let outer = Sha256::new().chain_update(pad(0x5c));
    Ok(outer.chain_update(inner.finalize()).finalize().to_vec())
}

/// Formats a time as HTTP does: `Sat, 28 Nov 2026 16:11:22 GMT`.
fn rfc1123(time: SystemTime) -> Result<String, String> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let since = time.duration_since(UNIX_EPOCH);
    let seconds = since.map_err(|error| error.to_string())?.as_secs();
    let millis = i64::try_from(seconds * 1000).map_err(|error| error.to_string())?;
    // YYYY-MM-DDThh:mm:ssZ
    let text = Timestamp::from_millis(millis).to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse::<usize>().unwrap_or(1) - 1;
    let day = DAYS[(seconds / 86_400 % 7) as usize];
    Ok(format!(
        "{day}, {} {} {} {} GMT",
        part(8, 10),
        MONTHS[month],
        part(0, 4),
        part(11, 19)
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_formatted_as_http_does() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_882_282);
        assert_eq!(rfc1123(time).unwrap(), "Sat, 28 Nov 2026 16:11:22 GMT");
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_hmac_is_that_of_the_rfc() {
        let key = STANDARD.encode("Jefe");
        let hex: String = hmac(&key, "what do ya want for nothing?")
            .unwrap()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(hex.starts_with("5bdcc146bf60754e6a042426089575c7"), "{hex}");
    }
}

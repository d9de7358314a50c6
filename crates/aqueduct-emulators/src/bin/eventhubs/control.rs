//! Commands on the standard input, while the emulator runs.

use aqueduct_emulators::EventHubs;

/// Carries out a command. Returns what to print: a number, or nothing for `ok`.
///
/// # Errors
/// The error of a command, with what was expected.
pub(crate) async fn obey(hubs: &EventHubs, line: &str) -> Result<String, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["inject", address, ..] => {
            let (_, fault) = line
                .split_once(address)
                .ok_or_else(|| "inject: expected `inject ADDRESS FAULT`".to_owned())?;
            hubs.inject(address, fault.parse()?);
        }
        ["pending"] => return Ok(hubs.pending_faults().to_string()),
        ["cut"] => hubs.cut_connections(),
        ["silence"] => hubs.silence_connections(),
        ["refuse", on @ ("on" | "off")] => hubs.refuse_connections(on == "on"),
        ["steal", hub, group, partition] => {
            return Ok(hubs.steal(hub, group, number(partition)?).to_string());
        }
        ["expire", hub, partition, sequence] => {
            hubs.expire(hub, number(partition)?, number(sequence)?);
        }
        ["move"] => {
            let moved = hubs.move_port().await;
            return Ok(moved.map_err(|error| error.to_string())?.to_string());
        }
        ["create-hub", hub, partitions] => hubs.create_hub(hub, number(partitions)?),
        ["delete-hub", hub] => hubs.delete_hub(hub),
        ["add-partitions", hub, partitions] => {
            if !hubs.add_partitions(hub, number(partitions)?) {
                return Err(format!("unknown hub {hub}"));
            }
        }
        _ => {
            return Err(format!(
                "unknown command `{line}` (expected inject ADDRESS FAULT, pending, cut, silence, \
                 refuse on|off, steal HUB GROUP PARTITION, expire HUB PARTITION SEQUENCE_NUMBER, move, \
                 create-hub HUB PARTITIONS, delete-hub HUB or add-partitions HUB PARTITIONS)"
            ));
        }
    }
    Ok("ok".to_owned())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("invalid number `{text}`"))
}

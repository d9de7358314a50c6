use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{Instant, Runtime};
use serde_json::{Map, Value, json};

use super::SqsLimits;
use super::digest;
use super::fault::Fault;
use super::message::{NewMessage, sequence_text};
use super::queue::{Asked, Queue};

const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";

/// All queues, and the operations on them.
pub(super) struct Service {
    runtime: Runtime,
    limits: SqsLimits,
    queues: BTreeMap<String, Queue>,
    deleted: BTreeMap<String, Instant>,
    /// Queues in which something may have become visible.
    touched: Vec<String>,
}

/// The result of an operation.
pub(super) enum Answer {
    Now(Value),
    /// No message to receive: retry after a change, at the given time, or when the wait ends.
    Wait {
        due: Option<Instant>,
        most: Duration,
        empty: Value,
    },
}

type Done = Result<Value, Fault>;

impl Service {
    pub(super) fn new(runtime: Runtime, limits: SqsLimits) -> Self {
        Self {
            runtime,
            limits,
            queues: BTreeMap::new(),
            deleted: BTreeMap::new(),
            touched: Vec::new(),
        }
    }

    pub(super) fn take_touched(&mut self) -> Vec<String> {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn call(
        &mut self,
        host: &str,
        operation: &str,
        request: &Value,
    ) -> Result<Answer, Fault> {
        let done = match operation {
            "CreateQueue" => self.create(host, request),
            "GetQueueUrl" => {
                let name = text(request, "QueueName")?;
                match self.queues.contains_key(name) {
                    true => Ok(json!({ "QueueUrl": url(host, name) })),
                    false => Err(Fault::no_queue()),
                }
            }
            "ListQueues" => {
                let prefix = request["QueueNamePrefix"].as_str().unwrap_or_default();
                let named = self.queues.keys().filter(|name| name.starts_with(prefix));
                let urls: Vec<String> = named.map(|name| url(host, name)).collect();
                Ok(json!({ "QueueUrls": urls }))
            }
            "ListDeadLetterSourceQueues" => {
                let arn = self.queue(request)?.arn.clone();
                let names = self.queues.values().filter(|queue| {
                    let redrive = queue.redrive();
                    redrive.is_some_and(|(target, _)| target == arn)
                });
                let urls: Vec<String> = names.map(|queue| url(host, &queue.name)).collect();
                Ok(json!({ "queueUrls": urls }))
            }
            "ReceiveMessage" => return self.receive(request),
            _ => {
                let name = self.queue(request).map(|queue| queue.name.clone());
                self.touched.extend(name);
                self.on_queue(operation, request)
            }
        };
        done.map(Answer::Now)
    }

    fn on_queue(&mut self, operation: &str, request: &Value) -> Done {
        let (now, wall) = (self.runtime.now(), self.runtime.wall().as_millis());
        let runtime = self.runtime.clone();
        let queue = self.queue(request)?;
        match operation {
            "DeleteQueue" => {
                let name = queue.name.clone();
                self.queues.remove(&name);
                self.deleted.insert(name, now);
                Ok(json!({}))
            }
            "PurgeQueue" => {
                queue.purge();
                Ok(json!({}))
            }
            "GetQueueAttributes" => Ok(attributes_of(queue, request, now)),
            "SetQueueAttributes" => {
                let given = read_attributes(queue.fifo, &request["Attributes"])?;
                queue.attributes.extend(given);
                queue.attributes.retain(|_, value| !value.is_empty());
                Ok(json!({}))
            }
            "TagQueue" => {
                let given = request["Tags"].as_object().into_iter().flatten();
                let mut tags = queue.tags.clone();
                tags.extend(given.filter_map(|(key, it)| Some((key.clone(), it.as_str()?.into()))));
                if tags.len() > 50 {
                    return Err(Fault::invalid("Too many tags added for queue."));
                }
                queue.tags = tags;
                Ok(json!({}))
            }
            "UntagQueue" => {
                for key in request["TagKeys"].as_array().into_iter().flatten() {
                    queue.tags.remove(key.as_str().unwrap_or_default());
                }
                Ok(json!({}))
            }
            "ListQueueTags" => Ok(json!({ "Tags": queue.tags })),
            "SendMessage" => {
                let id = message_id(&runtime);
                send(queue, request, id, now, wall)
            }
            "SendMessageBatch" => {
                let entries = entries(request)?;
                let sizes = entries
                    .iter()
                    .map(|(_, entry)| NewMessage::read(entry).map_or(0, |message| message.size()));
                let total: usize = sizes.sum();
                if total > 1 << 20 {
                    return Err(Fault::new(
                        "BatchRequestTooLong",
                        format!(
                            "Batch requests cannot be longer than 1048576 bytes. You have sent \
                             {total} bytes."
                        ),
                    ));
                }
                Ok(each(entries, |entry| {
                    send(queue, entry, message_id(&runtime), now, wall)
                }))
            }
            "DeleteMessage" => {
                queue.delete(text(request, "ReceiptHandle")?, now)?;
                Ok(json!({}))
            }
            "DeleteMessageBatch" => Ok(each(entries(request)?, |entry| {
                queue.delete(text(entry, "ReceiptHandle")?, now)?;
                Ok(json!({}))
            })),
            "ChangeMessageVisibility" => change_visibility(queue, request, now),
            "ChangeMessageVisibilityBatch" => Ok(each(entries(request)?, |entry| {
                change_visibility(queue, entry, now)
            })),
            other => Err(Fault::new(
                "UnsupportedOperation",
                format!("The emulator does not support the operation {other}."),
            )),
        }
    }

    fn create(&mut self, host: &str, request: &Value) -> Done {
        let name = text(request, "QueueName")?;
        let stem = name.strip_suffix(".fifo").unwrap_or(name);
        let valid = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if stem.is_empty() || name.len() > 80 || !stem.chars().all(valid) {
            return Err(Fault::invalid(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in \
                 length",
            ));
        }
        let fifo = name.ends_with(".fifo");
        let attributes = read_attributes(fifo, &request["Attributes"])?;
        if fifo != attributes.get("FifoQueue").is_some_and(|it| it == "true") {
            return Err(Fault::invalid(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or \
                 underscores, must end with .fifo suffix and be 1 to 80 in length.",
            ));
        }
        let now = self.runtime.now();
        self.deleted
            .retain(|_, at| now.since(*at) < self.limits.deleted_name);
        if self.deleted.contains_key(name) {
            return Err(Fault::new(
                "QueueDeletedRecently",
                "You must wait 60 seconds after deleting a queue before you can create another \
                 with the same name.",
            ));
        }
        if let Some(known) = self.queues.get(name) {
            let same = |(name, value): (&String, &String)| {
                known.attributes.get(name).is_none_or(|it| it == value)
            };
            return match attributes.iter().all(same) {
                true => Ok(json!({ "QueueUrl": url(host, name) })),
                false => Err(Fault::new(
                    "QueueNameExists",
                    "A queue already exists with the same name and a different value for an \
                     attribute.",
                )),
            };
        }
        let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}");
        let mut queue = Queue::new(name, arn, self.runtime.wall().as_seconds());
        queue.attributes = attributes;
        for (key, value) in request["tags"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            queue.tags.insert(key.clone(), value.to_owned());
        }
        self.queues.insert(name.to_owned(), queue);
        Ok(json!({ "QueueUrl": url(host, name) }))
    }

    fn receive(&mut self, request: &Value) -> Result<Answer, Fault> {
        let (now, wall) = (self.runtime.now(), self.runtime.wall().as_millis());
        let (runtime, limits) = (self.runtime.clone(), self.limits.clone());
        let queue = self.queue(request)?;
        let number = |name: &str| request[name].as_u64();
        let max = number("MaxNumberOfMessages").unwrap_or(1);
        if !(1..=10).contains(&max) {
            return Err(Fault::invalid(format!(
                "Value {max} for parameter MaxNumberOfMessages is invalid. Reason: Must be \
                 between 1 and 10, if provided."
            )));
        }
        let wait = number("WaitTimeSeconds")
            .unwrap_or_else(|| queue.number("ReceiveMessageWaitTimeSeconds", 0));
        let visibility =
            number("VisibilityTimeout").unwrap_or_else(|| queue.number("VisibilityTimeout", 30));
        if wait > 20 || visibility > 43_200 {
            return Err(Fault::invalid(
                "Value for parameter WaitTimeSeconds or VisibilityTimeout is invalid.",
            ));
        }
        let asked = Asked {
            max: match limits.random_batches {
                true => 1 + (runtime.random() % max) as usize,
                false => max as usize,
            },
            visibility: Duration::from_secs(visibility),
            attempt: request["ReceiveRequestAttemptId"]
                .as_str()
                .map(str::to_owned),
            in_flight_limit: match queue.fifo {
                true => limits.fifo_in_flight,
                false => limits.standard_in_flight,
            },
            short: wait == 0,
        };
        let (received, moved) = queue.receive(&asked, now, wall, || runtime.random())?;
        let messages: Vec<Value> = received
            .iter()
            .filter_map(|at| Some(queue.message(*at)?.shown(*at, request)))
            .collect();
        let (due, target) = (queue.next_due(), queue.redrive());
        let from = queue.arn.clone();
        if let Some((target, _)) = target
            && let Some(dead_letters) = self.queues.values_mut().find(|it| it.arn == target)
        {
            if !moved.is_empty() {
                self.touched.push(dead_letters.name.clone());
            }
            for message in moved {
                dead_letters.take_over(message, &from);
            }
        }
        if messages.is_empty() && wait > 0 {
            return Ok(Answer::Wait {
                due,
                most: Duration::from_secs(wait),
                empty: json!({}),
            });
        }
        Ok(Answer::Now(match messages.is_empty() {
            true => json!({}),
            false => json!({ "Messages": messages }),
        }))
    }

    fn queue(&mut self, request: &Value) -> Result<&mut Queue, Fault> {
        let name = text(request, "QueueUrl")?.rsplit('/').next();
        self.queues
            .get_mut(name.unwrap_or_default())
            .ok_or_else(Fault::no_queue)
    }
}

fn url(host: &str, name: &str) -> String {
    format!("{host}/{ACCOUNT}/{name}")
}

fn text<'a>(request: &'a Value, name: &str) -> Result<&'a str, Fault> {
    request[name].as_str().ok_or_else(|| Fault::missing(name))
}

fn message_id(runtime: &Runtime) -> String {
    let (high, low) = (runtime.random(), runtime.random());
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

fn send(queue: &mut Queue, entry: &Value, id: String, now: Instant, wall: i64) -> Done {
    let new = NewMessage::read(entry)?;
    let mut answer = json!({ "MD5OfMessageBody": digest::of_body(&new.body) });
    if let Some(md5) = digest::of_attributes(&new.attributes) {
        answer["MD5OfMessageAttributes"] = md5.into();
    }
    let fifo = queue.fifo;
    let (id, sequence) = queue.send(new, id, now, wall)?;
    answer["MessageId"] = id.into();
    if fifo {
        answer["SequenceNumber"] = sequence_text(sequence).into();
    }
    Ok(answer)
}

fn change_visibility(queue: &mut Queue, request: &Value, now: Instant) -> Done {
    let timeout = request["VisibilityTimeout"].as_u64();
    let timeout = timeout.ok_or_else(|| Fault::missing("VisibilityTimeout"))?;
    queue.change_visibility(text(request, "ReceiptHandle")?, timeout, now)?;
    Ok(json!({}))
}

fn entries(request: &Value) -> Result<Vec<(String, &Value)>, Fault> {
    let given = request["Entries"].as_array().into_iter().flatten();
    let mut entries = Vec::new();
    for entry in given {
        let id = text(entry, "Id")?;
        let valid = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if id.is_empty() || id.len() > 80 || !id.chars().all(valid) {
            return Err(Fault::new(
                "InvalidBatchEntryId",
                "A batch entry id is invalid.",
            ));
        }
        if entries.iter().any(|(known, _)| known == id) {
            return Err(Fault::new(
                "BatchEntryIdsNotDistinct",
                format!("Id {id} repeated."),
            ));
        }
        entries.push((id.to_owned(), entry));
    }
    match entries.len() {
        0 => Err(Fault::new(
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        )),
        1..=10 => Ok(entries),
        count => Err(Fault::new(
            "TooManyEntriesInBatchRequest",
            format!("Maximum number of entries per request are 10. You have sent {count}."),
        )),
    }
}

fn each(entries: Vec<(String, &Value)>, mut one: impl FnMut(&Value) -> Done) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, entry) in entries {
        match one(entry) {
            Ok(mut answer) => {
                answer["Id"] = id.into();
                successful.push(answer);
            }
            Err(fault) => failed.push(fault.entry(&id)),
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}

/// The attributes that can be set, with the numbers that they take.
const NUMBERS: [(&str, u64, u64); 5] = [
    ("DelaySeconds", 0, 900),
    ("MaximumMessageSize", 1024, 1_048_576),
    ("MessageRetentionPeriod", 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20),
    ("VisibilityTimeout", 0, 43_200),
];

fn read_attributes(fifo: bool, given: &Value) -> Result<BTreeMap<String, String>, Fault> {
    let mut read = BTreeMap::new();
    for (name, value) in given.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let refuse = |shape| {
            Err(Fault::new(
                shape,
                format!("Invalid value for the parameter {name}."),
            ))
        };
        match (
            name.as_str(),
            NUMBERS.iter().find(|(known, ..)| known == name),
        ) {
            (_, Some((_, least, most))) => {
                let number = value.parse().ok().filter(|it| (least..=most).contains(&it));
                if number.is_none() {
                    return refuse("InvalidAttributeValue");
                }
            }
            (
                "FifoQueue"
                | "ContentBasedDeduplication"
                | "DeduplicationScope"
                | "FifoThroughputLimit",
                None,
            ) if fifo => {}
            (
                "RedrivePolicy"
                | "RedriveAllowPolicy"
                | "Policy"
                | "SqsManagedSseEnabled"
                | "KmsMasterKeyId"
                | "KmsDataKeyReusePeriodSeconds",
                None,
            ) => {}
            _ => return refuse("InvalidAttributeName"),
        }
        read.insert(name.clone(), value.to_owned());
    }
    Ok(read)
}

fn attributes_of(queue: &mut Queue, request: &Value, now: Instant) -> Value {
    let [visible, in_flight, delayed] = queue.counts(now);
    let mut all: BTreeMap<String, String> = [
        ("VisibilityTimeout", "30".to_owned()),
        ("DelaySeconds", "0".to_owned()),
        ("MaximumMessageSize", "1048576".to_owned()),
        ("MessageRetentionPeriod", "345600".to_owned()),
        ("ReceiveMessageWaitTimeSeconds", "0".to_owned()),
        ("QueueArn", queue.arn.clone()),
        ("CreatedTimestamp", queue.created.to_string()),
        ("LastModifiedTimestamp", queue.created.to_string()),
        ("ApproximateNumberOfMessages", visible.to_string()),
        (
            "ApproximateNumberOfMessagesNotVisible",
            in_flight.to_string(),
        ),
        ("ApproximateNumberOfMessagesDelayed", delayed.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    all.extend(queue.attributes.clone());
    let asked: Vec<&str> = request["AttributeNames"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let shown: Map<String, Value> = all
        .into_iter()
        .filter(|(name, _)| asked.contains(&"All") || asked.contains(&name.as_str()))
        .map(|(name, value)| (name, value.into()))
        .collect();
    json!({ "Attributes": shown })
}

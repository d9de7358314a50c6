use serde_json::Value;

/// Texts that a notification contains, so that other bodies are not parsed.
const MARKS: [&str; 4] = [
    "\"TopicArn\"",
    "\"eventName\"",
    "\"detail-type\"",
    "\"s3:TestEvent\"",
];

/// Returns the type of a notification of Amazon's: `com.amazonaws.sns.TYPE` of an SNS envelope,
/// `com.amazonaws.s3.EVENT` of an S3 notification, the `detail-type` of an EventBridge event; `None`
/// for any other body.
///
/// The first two are the types of the adapters that the CloudEvents project publishes.
pub(super) fn type_of(body: &str) -> Option<String> {
    if !body.trim_start().starts_with('{') || !MARKS.iter().any(|mark| body.contains(mark)) {
        return None;
    }
    let body: Value = serde_json::from_str(body).ok()?;
    sns(&body).or_else(|| s3(&body)).or_else(|| events(&body))
}

fn sns(body: &Value) -> Option<String> {
    body["TopicArn"].as_str()?;
    body["MessageId"].as_str()?;
    Some(format!("com.amazonaws.sns.{}", body["Type"].as_str()?))
}

/// A notification may have several records; their type is named if they share one.
fn s3(body: &Value) -> Option<String> {
    if body["Event"] == "s3:TestEvent" && body["Service"] == "Amazon S3" {
        return Some("com.amazonaws.s3.TestEvent".to_owned());
    }
    let records = body["Records"].as_array()?;
    let first = records.first()?["eventName"].as_str()?;
    if !records.iter().all(|it| it["eventSource"] == "aws:s3") {
        return None;
    }
    Some(match records.iter().all(|it| it["eventName"] == first) {
        true => format!("com.amazonaws.s3.{first}"),
        false => "com.amazonaws.s3".to_owned(),
    })
}

fn events(body: &Value) -> Option<String> {
    body["source"].as_str()?;
    body.get("detail")?;
    Some(body["detail-type"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_notification_is_read_and_other_bodies_have_none() {
        let s3 = |names: &[&str]| {
            let record =
                |name| format!(r#"{{"eventSource":"aws:s3","eventName":"{name}","s3":{{}}}}"#);
            let records: Vec<String> = names.iter().map(record).collect();
            format!(r#"{{"Records":[{}]}}"#, records.join(","))
        };
        let sns = r#"{"Type":"Notification","MessageId":"1","TopicArn":"arn:aws:sns:eu-west-1:1:t","Message":"{\"Records\":[]}"}"#;
        let created = s3(&["ObjectCreated:Put"; 2]);
        let mixed = s3(&["ObjectCreated:Put", "ObjectRemoved:Delete"]);
        for (body, expected) in [
            (sns, Some("com.amazonaws.sns.Notification")),
            (&created, Some("com.amazonaws.s3.ObjectCreated:Put")),
            (&mixed, Some("com.amazonaws.s3")),
            (
                r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#,
                Some("com.amazonaws.s3.TestEvent"),
            ),
            (
                r#" {"version":"0","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","detail":{}}"#,
                Some("EC2 Instance State-change Notification"),
            ),
            (r#"{"Records":[]}"#, None),
            (r#"{"Records":[{"eventName":"INSERT"}]}"#, None),
            (r#"{"detail-type":"x","source":"#, None),
            (r#"["TopicArn"]"#, None),
            (r#"{"note":"\"TopicArn\""}"#, None),
            ("plain words about a \"TopicArn\"", None),
            ("", None),
        ] {
            assert_eq!(type_of(body).as_deref(), expected, "{body}");
        }
    }
}

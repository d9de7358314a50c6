mod more;

use aqueduct_core::{Error, ErrorKind, Event, EventId, Result, SmallStr};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};
use uuid::Uuid;

use self::more::{more_of, with_more};

/// Consecutive events of one partition, as one row holds them.
///
/// `shapes` lists the attributes that events share, `[[type, source, content type, schema], ...]`;
/// `heads` has an array for each event, `[shape, id, bytes of data, key, {more}]`, without trailing
/// absent elements; `body` is the data of all events, concatenated. The heads are JSON so that SQLite's
/// own functions can query them; the data is kept apart so that it is copied once and never escaped.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    pub(crate) count: usize,
    pub(crate) shapes: Vec<u8>,
    pub(crate) heads: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Packed {
    pub(crate) fn size(&self) -> usize {
        self.shapes.len() + self.heads.len() + self.body.len()
    }
}

/// Packs events one by one.
#[derive(Default)]
pub(crate) struct Packer {
    shapes: Vec<Shape>,
    packed: Packed,
}

#[derive(PartialEq, Deserialize)]
struct Shape(Word, Word, Option<Word>, Option<Word>);

impl Shape {
    fn fits(&self, event: &Event) -> bool {
        self.0.0 == event.kind()
            && self.1.0 == event.source()
            && self.2.as_ref().map(|word| word.0.as_str()) == event.content_type()
            && self.3.as_ref().map(|word| word.0.as_str()) == event.schema()
    }

    fn of(event: &Event) -> Self {
        let word = |text: &str| Word(SmallStr::from(text));
        Self(
            Word(event.kind_text().clone()),
            Word(event.source_text().clone()),
            event.content_type().map(word),
            event.schema().map(word),
        )
    }
}

impl Packer {
    pub(crate) fn push(&mut self, event: &Event) {
        let shape = match self.shapes.iter().rposition(|shape| shape.fits(event)) {
            Some(at) => at,
            None => {
                self.add_shape(Shape::of(event));
                self.shapes.len() - 1
            }
        };
        let heads = &mut self.packed.heads;
        heads.push(if self.packed.count == 0 { b'[' } else { b',' });
        heads.push(b'[');
        write_number(heads, shape);
        heads.push(b',');
        event.id().with_str(|id| write_text(heads, id));
        let more = more_of(event);
        if event.data().is_some() || event.key().is_some() || more.is_some() {
            heads.push(b',');
            match event.data() {
                Some(data) => write_number(heads, data.len()),
                None => heads.extend_from_slice(b"null"),
            }
        }
        if event.key().is_some() || more.is_some() {
            heads.push(b',');
            match event.key() {
                Some(key) => write_text(heads, key),
                None => heads.extend_from_slice(b"null"),
            }
        }
        if let Some(more) = more {
            heads.extend_from_slice(b",");
            heads.extend_from_slice(more.to_string().as_bytes());
        }
        heads.push(b']');
        if let Some(data) = event.data() {
            self.packed.body.extend_from_slice(data);
        }
        self.packed.count += 1;
    }

    pub(crate) fn size(&self) -> usize {
        self.packed.size()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packed.count == 0
    }

    /// Returns the packed row and leaves the packer empty.
    pub(crate) fn finish(&mut self) -> Packed {
        self.shapes.clear();
        let mut packed = std::mem::take(&mut self.packed);
        packed.heads.push(b']');
        packed.shapes.push(b']');
        packed
    }

    fn add_shape(&mut self, shape: Shape) {
        let shapes = &mut self.packed.shapes;
        shapes.push(if self.shapes.is_empty() { b'[' } else { b',' });
        shapes.push(b'[');
        write_text(shapes, &shape.0.0);
        shapes.push(b',');
        write_text(shapes, &shape.1.0);
        for word in [&shape.2, &shape.3] {
            shapes.push(b',');
            match word {
                Some(word) => write_text(shapes, &word.0),
                None => shapes.extend_from_slice(b"null"),
            }
        }
        shapes.push(b']');
        self.shapes.push(shape);
    }
}

/// Packs one event alone, as the outbox and the dead letter store keep it.
pub(crate) fn pack_one(event: &Event) -> Packed {
    let mut packer = Packer::default();
    packer.push(event);
    packer.finish()
}

/// Decodes the events of a row in order, without the first `skip`.
pub(crate) fn unpack(
    shapes: &[u8],
    heads: &[u8],
    body: &Bytes,
    skip: usize,
    mut take: impl FnMut(Event),
) -> Result<()> {
    let shapes: Vec<Shape> = serde_json::from_slice(shapes).map_err(damaged)?;
    let mut at = 0usize;
    let mut index = 0usize;
    let mut fault = None;
    let mut each = |head: Head| {
        let end = at.saturating_add(head.data.unwrap_or(0));
        index += 1;
        let start = std::mem::replace(&mut at, end);
        if index <= skip {
            return;
        }
        let Some(shape) = shapes.get(head.shape).filter(|_| end <= body.len()) else {
            fault = Some("a head points outside its row");
            return;
        };
        let mut event = shaped(shape, head.id);
        if head.data.is_some() {
            event = event.with_data(body.slice(start..end));
        }
        if let Some(key) = head.key {
            event = event.with_key(key.0);
        }
        match head.more {
            None => take(event),
            Some(more) => match with_more(event, &more) {
                Ok(event) => take(event),
                Err(_) => fault = Some("the attributes of a head do not decode"),
            },
        }
    };
    let mut reader = serde_json::Deserializer::from_slice(heads);
    reader.deserialize_seq(Heads(&mut each)).map_err(damaged)?;
    match fault {
        None => Ok(()),
        Some(why) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("a row of events is damaged: {why}"),
        )),
    }
}

/// Decodes the only event of a row.
pub(crate) fn unpack_one(shapes: &[u8], heads: &[u8], body: Vec<u8>) -> Result<Event> {
    let mut found = None;
    unpack(shapes, heads, &Bytes::from(body), 0, |event| {
        found = Some(event);
    })?;
    found.ok_or_else(|| Error::new(ErrorKind::Corrupt, "a row of events is empty"))
}

fn damaged(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Corrupt, "a row of events does not decode").with_source(error)
}

fn shaped(shape: &Shape, id: EventId) -> Event {
    let mut event = Event::with_id_and_type(id, shape.0.0.clone()).with_source(shape.1.0.clone());
    if let Some(word) = &shape.2 {
        event = event.with_content_type(word.0.clone());
    }
    if let Some(word) = &shape.3 {
        event = event.with_schema(word.0.clone());
    }
    event
}

struct Word(SmallStr);

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Word;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Word, E> {
                Ok(Word(SmallStr::from(text)))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

struct Id(EventId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an id")
            }

            fn visit_str<E>(self, text: &str) -> Result<Id, E> {
                // A UUID is parsed straight into its 16 bytes, which saves allocating its text.
                let canonical = text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase());
                let uuid = canonical.then(|| Uuid::try_parse(text).ok()).flatten();
                Ok(Id(uuid.map_or_else(|| EventId::from(text), EventId::from)))
            }
        }
        deserializer.deserialize_str(IdVisitor)
    }
}

struct Head {
    shape: usize,
    id: EventId,
    data: Option<usize>,
    key: Option<Word>,
    more: Option<Map<String, Value>>,
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadVisitor;
        impl<'de> Visitor<'de> for HeadVisitor {
            type Value = Head;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("[shape, id, bytes of data, key, more]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Head, A::Error> {
                let missing = |at| serde::de::Error::invalid_length(at, &self);
                let shape = seq.next_element()?.ok_or_else(|| missing(0))?;
                let id: Id = seq.next_element()?.ok_or_else(|| missing(1))?;
                let data = seq.next_element::<Option<usize>>()?.flatten();
                let key = seq.next_element::<Option<Word>>()?.flatten();
                let more = seq.next_element()?;
                Ok(Head {
                    shape,
                    id: id.0,
                    data,
                    key,
                    more,
                })
            }
        }
        deserializer.deserialize_seq(HeadVisitor)
    }
}

struct Heads<'a, F>(&'a mut F);

impl<'de, F: FnMut(Head)> Visitor<'de> for Heads<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of heads")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(head) = seq.next_element()? {
            (self.0)(head);
        }
        Ok(())
    }
}

fn write_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let plain = !text.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(Value::from(text).to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests;

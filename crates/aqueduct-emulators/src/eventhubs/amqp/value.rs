use bytes::Bytes;

/// A value of the AMQP type system.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::eventhubs) enum Value {
    #[default]
    Null,
    Bool(bool),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    /// A decimal, with the constructor that tells its width.
    Decimal(u8, Bytes),
    Char(u32),
    /// Milliseconds since the Unix epoch.
    Timestamp(i64),
    Uuid([u8; 16]),
    Binary(Bytes),
    String(String),
    Symbol(String),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Array(Vec<Self>),
    /// A descriptor and the value it describes.
    Described(Box<(Self, Self)>),
}

impl Value {
    pub(in crate::eventhubs) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    pub(in crate::eventhubs) fn symbol(text: impl Into<String>) -> Self {
        Self::Symbol(text.into())
    }

    pub(in crate::eventhubs) fn described(code: u64, value: Self) -> Self {
        Self::Described(Box::new((Self::U64(code), value)))
    }

    pub(in crate::eventhubs) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns an unsigned integer of any width.
    pub(in crate::eventhubs) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::U8(value) => Some(u64::from(*value)),
            Self::U16(value) => Some(u64::from(*value)),
            Self::U32(value) => Some(u64::from(*value)),
            Self::U64(value) => Some(*value),
            _ => None,
        }
    }

    pub(in crate::eventhubs) fn as_u32(&self) -> Option<u32> {
        self.as_u64().and_then(|value| value.try_into().ok())
    }

    /// Returns an integer of any width and sign, or a timestamp in milliseconds.
    pub(in crate::eventhubs) fn as_i64(&self) -> Option<i64> {
        match self {
            Self::I8(value) => Some(i64::from(*value)),
            Self::I16(value) => Some(i64::from(*value)),
            Self::I32(value) => Some(i64::from(*value)),
            Self::I64(value) | Self::Timestamp(value) => Some(*value),
            other => other.as_u64().and_then(|value| value.try_into().ok()),
        }
    }

    /// Returns a string or symbol.
    pub(in crate::eventhubs) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    pub(in crate::eventhubs) fn as_binary(&self) -> Option<&Bytes> {
        match self {
            Self::Binary(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(in crate::eventhubs) fn as_map(&self) -> Option<&[(Self, Self)]> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the value of `key`, a string or symbol, if this is a map.
    pub(in crate::eventhubs) fn get(&self, key: &str) -> Option<&Self> {
        let mut entries = self.as_map()?.iter();
        let found = entries.find(|(name, _)| name.as_str() == Some(key))?;
        Some(&found.1)
    }

    /// Returns a field of a described list, such as a source; `Null` where it is left out.
    pub(in crate::eventhubs) fn field(&self, index: usize) -> &Self {
        match self.undescribed() {
            Self::List(fields) => fields.get(index).unwrap_or(&Self::Null),
            _ => &Self::Null,
        }
    }

    /// Returns the value without its descriptor.
    pub(in crate::eventhubs) fn undescribed(&self) -> &Self {
        match self {
            Self::Described(it) => it.1.undescribed(),
            other => other,
        }
    }

    /// Returns the numeric descriptor.
    pub(in crate::eventhubs) fn descriptor(&self) -> Option<u64> {
        match self {
            Self::Described(it) => it.0.as_u64(),
            _ => None,
        }
    }

    /// Returns the symbols of a field that is one symbol or an array of them.
    pub(in crate::eventhubs) fn symbols(&self) -> Vec<&str> {
        match self {
            Self::Array(items) | Self::List(items) => {
                items.iter().filter_map(Self::as_str).collect()
            }
            other => other.as_str().into_iter().collect(),
        }
    }
}

mod any;
mod escapes;
mod hostile;
mod json;
mod plain;
mod protobuf;
mod receive;
mod reference;

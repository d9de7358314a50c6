mod any;
mod hostile;
mod json;
mod plain;
mod protobuf;
mod reference;

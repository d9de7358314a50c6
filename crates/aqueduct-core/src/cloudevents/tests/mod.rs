mod any;
mod hostile;
mod json;
mod protobuf;
mod reference;

mod admission;
mod cancellation;
mod closing;
mod fakes;
mod order;

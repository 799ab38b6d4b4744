//! The black-box tests of the whole pipeline, one module a part. They share one set of real servers.

mod end_to_end;
mod python_client;

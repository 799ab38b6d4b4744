//! Rows of Spark's Kafka source as the records they were.
//!
//! Columns, by name: `key`, `value`, `partition`, `offset`, `timestamp_ms`, `headers`; the last as Spark gives them
//! with `includeHeaders`: a list of structs of `key` and `value`, or null.

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use rdkafka::Timestamp;
use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

use crate::error::SparkError;

/// Name of the column with the headers; absent where no row has any.
pub(crate) const HEADERS: &str = "headers";

/// Columns of a batch.
pub(crate) struct Rows<'b> {
    key: Bytes<'b>,
    value: Bytes<'b>,
    partition: &'b [i32],
    offset: &'b [i64],
    timestamp: &'b [i64],
    headers: Option<&'b ArrayRef>,
    topic: &'b str,
}

/// Spark gives `Binary`, or `LargeBinary` with `spark.sql.execution.arrow.useLargeVarTypes`.
enum Bytes<'b> {
    Small(&'b arrow::array::BinaryArray),
    Large(&'b arrow::array::LargeBinaryArray),
}

impl<'b> Bytes<'b> {
    fn new(name: &str, array: &'b ArrayRef) -> Result<Self, SparkError> {
        if let Some(small) = array.as_binary_opt() {
            return Ok(Self::Small(small));
        }
        array.as_binary_opt().map(Self::Large).ok_or_else(|| wrong(name, array.data_type()))
    }

    fn get(&self, row: usize) -> Option<&'b [u8]> {
        match self {
            Self::Small(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Large(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}

impl<'b> Rows<'b> {
    pub(crate) fn new(batch: &'b RecordBatch, topic: &'b str) -> Result<Self, SparkError> {
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| SparkError::Rows(format!("there is no column {name}")))
        };
        let numbers = |name: &str| {
            let array = column(name)?;
            let found = array.as_primitive_opt::<Int64Type>().filter(|array| array.null_count() == 0);
            found.map(|array| &array.values()[..]).ok_or_else(|| wrong(name, array.data_type()))
        };
        let partition = column("partition")?;
        let partitions = partition.as_primitive_opt::<Int32Type>().filter(|array| array.null_count() == 0);
        Ok(Self {
            key: Bytes::new("key", column("key")?)?,
            value: Bytes::new("value", column("value")?)?,
            partition: partitions.ok_or_else(|| wrong("partition", partition.data_type()))?.values(),
            offset: numbers("offset")?,
            timestamp: numbers("timestamp_ms")?,
            headers: batch.column_by_name(HEADERS),
            topic,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.offset.len()
    }

    pub(crate) fn partition(&self, row: usize) -> Option<i32> {
        self.partition.get(row).copied()
    }

    /// Offset of a row; `None` after the last one.
    pub(crate) fn offset(&self, row: usize) -> Option<i64> {
        self.offset.get(row).copied()
    }

    /// Bytes of key and value.
    pub(crate) fn size(&self, row: usize) -> usize {
        self.key.get(row).map_or(0, <[u8]>::len) + self.value.get(row).map_or(0, <[u8]>::len)
    }

    /// The record of a row.
    pub(crate) fn record(&self, row: usize) -> Result<OwnedMessage, SparkError> {
        let timestamp = match self.timestamp.get(row) {
            Some(-1) | None => Timestamp::NotAvailable,
            Some(milliseconds) => Timestamp::CreateTime(*milliseconds),
        };
        Ok(OwnedMessage::new(
            self.value.get(row).map(<[u8]>::to_vec),
            self.key.get(row).map(<[u8]>::to_vec),
            self.topic.to_owned(),
            timestamp,
            self.partition.get(row).copied().unwrap_or_default(),
            self.offset.get(row).copied().unwrap_or_default(),
            self.headers(row)?,
        ))
    }

    fn headers(&self, row: usize) -> Result<Option<OwnedHeaders>, SparkError> {
        let Some(headers) = self.headers.filter(|headers| headers.is_valid(row)) else { return Ok(None) };
        let unexpected = || wrong(HEADERS, headers.data_type());
        let one = match headers.data_type() {
            DataType::List(_) => headers.as_list::<i32>().value(row),
            DataType::LargeList(_) => headers.as_list::<i64>().value(row),
            _ => return Err(unexpected()),
        };
        let pairs: &StructArray = one.as_struct_opt().ok_or_else(unexpected)?;
        let (Some(keys), Some(values)) = (pairs.column_by_name("key"), pairs.column_by_name("value")) else {
            return Err(unexpected());
        };
        let values = Bytes::new(HEADERS, values)?;
        let mut made = OwnedHeaders::new_with_capacity(pairs.len());
        for pair in 0..pairs.len() {
            let key = text(keys, pair).ok_or_else(unexpected)?;
            made = made.insert(Header { key, value: values.get(pair) });
        }
        Ok(Some(made))
    }
}

fn text(array: &ArrayRef, row: usize) -> Option<&str> {
    if let Some(small) = array.as_string_opt::<i32>() {
        return Some(small.value(row));
    }
    array.as_string_opt::<i64>().map(|large| large.value(row))
}

fn wrong(column: &str, found: &DataType) -> SparkError {
    SparkError::Rows(format!("column {column} is of type {found}, or has nulls"))
}

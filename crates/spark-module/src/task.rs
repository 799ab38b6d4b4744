//! A task of Spark: records in, transactions out.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::pyarrow::PyArrowType;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rdkafka::message::OwnedMessage;

use crate::error::SparkError;
use crate::partition::{Partition, Report};
use crate::plan::Plan;
use crate::rows::{HEADERS, Rows};
use crate::session::Session;

/// Processes the rows of one Spark task; `plan` is what `Job.prepare` gave the driver.
#[pyclass]
pub(crate) struct Task {
    work: Option<Work>,
}

struct Work {
    session: Arc<Session>,
    partition: Option<Partition>,
    reports: Vec<Report>,
}

#[pymethods]
impl Task {
    #[new]
    fn new(py: Python<'_>, plan: &str) -> PyResult<Self> {
        let plan: Plan = serde_json::from_str(plan).map_err(SparkError::Json)?;
        let session = py.detach(|| Session::of(&plan))?;
        Ok(Self { work: Some(Work { session, partition: None, reports: Vec::new() }) })
    }

    /// Commits what becomes of the rows of a batch, a `pyarrow.RecordBatch`, before it returns.
    fn process(&mut self, py: Python<'_>, batch: &Bound<'_, PyAny>) -> PyResult<()> {
        let work = self.work.as_mut().ok_or_else(ended)?;
        if batch.len()? == 0 {
            return Ok(());
        }
        // Java leaves the offsets of an array without any element out, which Rust would read nevertheless.
        let headers = batch.call_method1("column", (HEADERS,))?;
        let PyArrowType::<RecordBatch>(batch) = if headers.getattr("values")?.len()? == 0 {
            batch.call_method1("drop_columns", (vec![HEADERS],))?.extract()?
        } else {
            batch.extract()?
        };
        Ok(py.detach(|| work.process(&batch))?)
    }

    /// A batch with the column `report`: a row for each partition, for `Job.batch`.
    fn finish(&mut self) -> PyResult<PyArrowType<RecordBatch>> {
        let reports = self.work.take().ok_or_else(ended)?.finish();
        let rows: Vec<String> =
            reports.iter().map(serde_json::to_string).collect::<Result<_, _>>().map_err(SparkError::Json)?;
        let schema = Schema::new(vec![Field::new("report", DataType::Utf8, true)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(StringArray::from(rows))]);
        batch.map(PyArrowType).map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }
}

fn ended() -> PyErr {
    PyRuntimeError::new_err("the task has been finished")
}

impl Work {
    fn process(&mut self, batch: &RecordBatch) -> Result<(), SparkError> {
        let session = Arc::clone(&self.session);
        let config = &session.settings.processor;
        let rows = Rows::new(batch, &config.source_topic)?;
        let mut records: Vec<OwnedMessage> = Vec::new();
        let mut bytes = 0;
        for row in 0..rows.len() {
            let (Some(id), Some(offset)) = (rows.partition(row), rows.offset(row)) else { break };
            if self.partition.as_ref().is_none_or(|partition| partition.id() != id) {
                self.commit(&mut records)?;
                self.close();
                self.partition = Some(Partition::new(Arc::clone(&session), id));
            }
            let full = records.len() >= config.max_batch_records || bytes >= config.max_batch_bytes;
            if full {
                self.commit(&mut records)?;
            }
            let Some(partition) = &mut self.partition else { break };
            if offset < partition.next()? {
                partition.skip();
                continue;
            }
            bytes = if records.is_empty() { 0 } else { bytes } + rows.size(row);
            records.push(rows.record(row)?);
        }
        self.commit(&mut records)
    }

    fn commit(&mut self, records: &mut Vec<OwnedMessage>) -> Result<(), SparkError> {
        if let Some(partition) = self.partition.as_mut().filter(|_| !records.is_empty()) {
            partition.commit(records)?;
        }
        records.clear();
        Ok(())
    }

    fn close(&mut self) {
        self.reports.extend(self.partition.take().map(Partition::report));
    }

    fn finish(mut self) -> Vec<Report> {
        self.close();
        self.reports
    }
}

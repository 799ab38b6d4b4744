//! How the fields of one writer's schema lie in its data.

use std::collections::HashMap;

use apache_avro::Schema;
use apache_avro::schema::{FixedSchema, InnerDecimalSchema, RecordField, RecordSchema, UuidSchema};

use super::types::FieldType;
use crate::meta;

/// A schema that no record can be read with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LayoutError {
    /// The registry's text is not an Avro schema.
    #[error("it is no Avro schema: {0}")]
    Parse(String),
    /// Values are written with a schema that is not a record.
    #[error("it describes no record")]
    NotARecord,
    /// A type is referred to and nowhere defined.
    #[error("it refers to the type {0}, which it does not define")]
    UnknownType(String),
}

/// A field and the cell that holds its value: the fields of the record come first, those of its `__before` follow.
#[derive(Debug, Clone)]
pub struct Field {
    /// Name in the schema.
    pub name: String,
    /// Type, whether nullable or not.
    pub field_type: FieldType,
}

/// The walk through a datum, and what its cells are.
#[derive(Debug, Clone)]
pub struct Layout {
    pub(super) nodes: Vec<Node>,
    pub(super) steps: Vec<Step>,
    pub(super) fields: Vec<Field>,
    pub(super) before_at: usize,
}

/// What one field of the record adds to the row.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A cell.
    Cell(NodeId),
    /// The union of null and the old values: cells after all others.
    Before { null: i64, record: i64, fields: Vec<NodeId> },
}

pub(super) type NodeId = usize;

/// How a value lies in the data; types that contain types refer to them, since a schema can be recursive.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<NodeId>),
}

impl Layout {
    /// Reads a schema in JSON.
    ///
    /// # Errors
    /// It is no Avro schema, or not that of a record.
    pub fn parse(schema: &str) -> Result<Self, LayoutError> {
        let schema = Schema::parse_str(schema).map_err(|error| LayoutError::Parse(error.to_string()))?;
        let Schema::Record(record) = &schema else { return Err(LayoutError::NotARecord) };
        let mut compiler = Compiler { nodes: Vec::new(), named: HashMap::new() };
        let root = compiler.node(&schema, None)?;
        let nodes = compiler.nodes;
        let mut layout = Self { nodes: Vec::new(), steps: Vec::new(), fields: Vec::new(), before_at: 0 };
        let mut before = Vec::new();
        for (field, node) in record.fields.iter().zip(fields_of(&nodes, root)) {
            match before_record(field, *node, &nodes) {
                Some((inner, step)) => {
                    before.extend(inner.fields.iter().map(described));
                    layout.steps.push(step);
                }
                None => {
                    layout.steps.push(Step::Cell(*node));
                    layout.fields.push(described(field));
                }
            }
        }
        layout.before_at = layout.fields.len();
        layout.fields.append(&mut before);
        layout.nodes = nodes;
        Ok(layout)
    }

    /// The cell of a field of the record.
    #[must_use]
    pub fn cell(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().take(self.before_at).find(|(_, field)| field.name == name)
    }

    /// The cell of a field's value before the update; `None` if the schema does not keep it.
    #[must_use]
    pub fn before_cell(&self, name: &str) -> Option<(usize, &Field)> {
        self.fields.iter().enumerate().skip(self.before_at).find(|(_, field)| field.name == name)
    }
}

fn described(field: &RecordField) -> Field {
    Field { name: field.name.clone(), field_type: FieldType::of(&field.schema) }
}

fn fields_of(nodes: &[Node], record: NodeId) -> &[NodeId] {
    match nodes.get(record) {
        Some(Node::Record(fields)) => fields,
        _ => &[],
    }
}

/// The record inside `__before` and how it is read. Only a union of null and a record is read as old values.
fn before_record<'s>(
    field: &'s RecordField,
    node: NodeId,
    nodes: &[Node],
) -> Option<(&'s RecordSchema, Step)> {
    let (Schema::Union(union), Some(Node::Union(branches))) = (&field.schema, nodes.get(node)) else {
        return None;
    };
    let step =
        |null, record, node: &NodeId| Step::Before { null, record, fields: fields_of(nodes, *node).to_vec() };
    match (union.variants(), branches.as_slice()) {
        _ if field.name != meta::BEFORE => None,
        ([Schema::Null, Schema::Record(record)], [_, node]) => Some((record, step(0, 1, node))),
        ([Schema::Record(record), Schema::Null], [node, _]) => Some((record, step(1, 0, node))),
        _ => None,
    }
}

struct Compiler {
    nodes: Vec<Node>,
    named: HashMap<String, NodeId>,
}

impl Compiler {
    fn node(&mut self, schema: &Schema, namespace: Option<&str>) -> Result<NodeId, LayoutError> {
        let node = match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int | Schema::Date | Schema::TimeMillis => Node::Int,
            Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos => Node::Long,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Node::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::String,
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Node::Bytes,
                InnerDecimalSchema::Fixed(fixed) => return Ok(self.fixed(fixed, namespace)),
            },
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                return Ok(self.fixed(fixed, namespace));
            }
            Schema::Enum(inner) => {
                // The symbol's number.
                let id = self.push(Node::Int);
                self.named.insert(inner.name.fullname(namespace), id);
                return Ok(id);
            }
            Schema::Array(array) => Node::Array(self.node(&array.items, namespace)?),
            Schema::Map(map) => Node::Map(self.node(&map.types, namespace)?),
            Schema::Union(union) => {
                let branches = union.variants().iter().map(|branch| self.node(branch, namespace));
                Node::Union(branches.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => {
                // Its number is known before its fields are, which may refer to it.
                let id = self.push(Node::Null);
                self.named.insert(record.name.fullname(namespace), id);
                let inner = record.name.namespace().or(namespace);
                let fields = record.fields.iter().map(|field| self.node(&field.schema, inner));
                let fields = fields.collect::<Result<_, _>>()?;
                if let Some(node) = self.nodes.get_mut(id) {
                    *node = Node::Record(fields);
                }
                return Ok(id);
            }
            Schema::Ref { name } => {
                let name = name.fullname(namespace);
                return self.named.get(&name).copied().ok_or(LayoutError::UnknownType(name));
            }
        };
        Ok(self.push(node))
    }

    fn fixed(&mut self, fixed: &FixedSchema, namespace: Option<&str>) -> NodeId {
        let id = self.push(Node::Fixed(fixed.size));
        self.named.insert(fixed.name.fullname(namespace), id);
        id
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

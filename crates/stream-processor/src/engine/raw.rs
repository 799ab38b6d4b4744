//! Changes of users out of data of any writer's schema.

use domain::{RawBefore, RawUser};
use events::avro::{Cell, Field, FieldType, Layout, LayoutError, Row};
use events::meta;

/// The cell of a field that a schema lacks: no row has it, and it reads as null.
const NO_CELL: usize = usize::MAX;

/// Reads the data of one writer's schema.
#[derive(Debug)]
pub(super) struct Reader {
    layout: Layout,
    cells: Cells,
    before: Before,
}

/// Why no user can be read with a schema.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It is no schema.
    NoSchema(LayoutError),
    /// It is not that of a user.
    NoUser(String),
}

/// What is read, by field of [`RawUser`]: the name in the schema, and how. Makes `Cells`, the numbers of the fields'
/// cells in the rows of one schema.
macro_rules! fields {
    ($($field:ident: $read:ident $name:expr,)*) => {
        #[derive(Debug)]
        struct Cells {
            $($field: usize,)*
        }

        impl Cells {
            fn of(layout: &Layout) -> Result<Self, String> {
                Ok(Self { $($field: cell($name, layout.cell($name))?,)* })
            }

            fn user<'d>(&self, row: &Row<'d>, before: Option<RawBefore<'d>>) -> Result<RawUser<'d>, String> {
                Ok(RawUser { $($field: $read($name, row.cell(self.$field))?,)* before })
            }
        }
    };
}

fields! {
    id: text "id",
    run_id: text "run_id",
    nat: text "nat",
    registered_at: long "registered_at",
    fetched_at: maybe_long "fetched_at",
    gender: maybe_text "gender",
    title: maybe_text "title",
    first_name: maybe_text "first_name",
    last_name: maybe_text "last_name",
    street_number: maybe_long "street_number",
    street_name: maybe_text "street_name",
    city: maybe_text "city",
    state: maybe_text "state",
    country: maybe_text "country",
    postcode: maybe_text "postcode",
    latitude: maybe_double "latitude",
    longitude: maybe_double "longitude",
    timezone_offset: maybe_text "timezone_offset",
    timezone_description: maybe_text "timezone_description",
    email: maybe_text "email",
    username: maybe_text "username",
    date_of_birth: maybe_long "date_of_birth",
    phone: maybe_text "phone",
    cell: maybe_text "cell",
    document_name: maybe_text "document_name",
    document_value: maybe_text "document_value",
    picture_large: maybe_text "picture_large",
    picture_medium: maybe_text "picture_medium",
    picture_thumbnail: maybe_text "picture_thumbnail",
    op: text meta::OP,
    lsn: long meta::LSN,
    commit_ts: long meta::COMMIT_TS,
}

/// The cells of the identity before an update.
#[derive(Debug)]
struct Before {
    id: usize,
    run_id: usize,
    nat: usize,
    registered_at: usize,
}

impl Before {
    fn of(layout: &Layout) -> Result<Self, String> {
        // Old values in another form than the relay's would be passed over.
        if let Some((_, field)) = layout.cell(meta::BEFORE) {
            return Err(format!("{} is a {}, not null or a record", meta::BEFORE, field.field_type));
        }
        let cell = |name| cell(name, layout.before_cell(name));
        Ok(Self {
            id: cell("id")?,
            run_id: cell("run_id")?,
            nat: cell("nat")?,
            registered_at: cell("registered_at")?,
        })
    }

    fn values<'d>(&self, row: &Row<'d>) -> Result<Option<RawBefore<'d>>, String> {
        if !row.has_before {
            return Ok(None);
        }
        Ok(Some(RawBefore {
            id: text("id before the update", row.cell(self.id))?,
            run_id: text("run_id before the update", row.cell(self.run_id))?,
            nat: text("nat before the update", row.cell(self.nat))?,
            registered_at: long("registered_at before the update", row.cell(self.registered_at))?,
        }))
    }
}

impl Reader {
    /// For a schema in JSON.
    pub(super) fn of(schema: &str) -> Result<Self, Unfit> {
        let layout = Layout::parse(schema).map_err(|error| match error {
            LayoutError::NotARecord => Unfit::NoUser(error.to_string()),
            LayoutError::Parse(_) | LayoutError::UnknownType(_) => Unfit::NoSchema(error),
        })?;
        let cells = Cells::of(&layout).map_err(Unfit::NoUser)?;
        let before = Before::of(&layout).map_err(Unfit::NoUser)?;
        Ok(Self { layout, cells, before })
    }

    /// Reads one change, which borrows its texts.
    pub(super) fn read<'d>(&self, datum: &'d [u8]) -> Result<RawUser<'d>, String> {
        let row = self.layout.decode(datum).map_err(|error| error.to_string())?;
        self.cells.user(&row, self.before.values(&row)?)
    }
}

fn cell(name: &str, found: Option<(usize, &Field)>) -> Result<usize, String> {
    match found {
        Some((_, Field { field_type: FieldType::Other(other), .. })) => {
            Err(format!("{name} is of the type {other}"))
        }
        Some((cell, _)) => Ok(cell),
        None => Ok(NO_CELL),
    }
}

fn text<'d>(name: &str, cell: Cell<'d>) -> Result<&'d str, String> {
    maybe_text(name, cell)?.ok_or_else(|| missing(name))
}

fn long(name: &str, cell: Cell<'_>) -> Result<i64, String> {
    maybe_long(name, cell)?.ok_or_else(|| missing(name))
}

fn maybe_text<'d>(name: &str, cell: Cell<'d>) -> Result<Option<&'d str>, String> {
    match cell {
        Cell::String(text) => Ok(Some(text)),
        Cell::Null => Ok(None),
        _ => Err(format!("{name} is no string")),
    }
}

fn maybe_long(name: &str, cell: Cell<'_>) -> Result<Option<i64>, String> {
    match cell {
        Cell::Long(number) => Ok(Some(number)),
        Cell::Int(number) => Ok(Some(number.into())),
        Cell::Null => Ok(None),
        _ => Err(format!("{name} is no int and no long")),
    }
}

fn maybe_double(name: &str, cell: Cell<'_>) -> Result<Option<f64>, String> {
    match cell {
        Cell::Double(number) => Ok(Some(number)),
        Cell::Float(number) => Ok(Some(number.into())),
        Cell::Null => Ok(None),
        _ => Err(format!("{name} is no float and no double")),
    }
}

fn missing(name: &str) -> String {
    format!("{name} is missing")
}

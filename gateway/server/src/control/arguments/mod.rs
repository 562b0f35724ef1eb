//! What clients may ask of each operation and what it answers, once for all faces: the schemas as clients see
//! them, and how a JSON object becomes an [`Operation`]. The types themselves belong to governance.

mod check;
mod schema;

use std::sync::LazyLock;

use gateway_governance::{OPERATIONS, Operation, OperationSpec};
use serde_json::{Map, Value};

pub use check::{Misfit, check};

/// One operation's arguments and answer.
#[derive(Debug)]
pub struct Arguments {
    spec: &'static OperationSpec,
    schema: Value,
    answer: Value,
}

/// Those of the operation of that name, if it has faces.
pub fn of(operation: &str) -> Option<&'static Arguments> {
    ALL.iter().find(|arguments| arguments.spec.name == operation)
}

static ALL: LazyLock<Vec<Arguments>> =
    LazyLock::new(|| OPERATIONS.iter().filter(|spec| spec.on_faces).map(Arguments::new).collect());

impl Arguments {
    fn new(spec: &'static OperationSpec) -> Arguments {
        let mut answer = schema::plain((spec.answer)(), false);
        // A face may add one to say that an answer was shortened.
        let note =
            serde_json::json!({"type": "string", "description": "What else there is to know."});
        if let Some(Value::Object(properties)) = answer.get_mut("properties") {
            properties.entry("note").or_insert(note);
        }
        Arguments { spec, schema: schema::plain((spec.arguments)(), true), answer }
    }

    /// The JSON Schema of the arguments.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The JSON Schema of the answer.
    pub fn answer(&self) -> &Value {
        &self.answer
    }

    /// The operation that these arguments ask for.
    pub fn read(&self, arguments: Map<String, Value>) -> Result<Operation, Misfit> {
        check(&self.schema, &arguments)?;
        (self.spec.read)(Value::Object(arguments))
            .map_err(|refused| Misfit::new("arguments", refused.detail))
    }
}

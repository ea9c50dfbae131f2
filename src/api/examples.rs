//! The examples of the OpenAPI document, from `openapi/examples.json`. CI sends each request and judges each answer.
//! In: an operation without examples. Out: the same with those of its parameters, its body and its answers.
//! Never: a schema changed, or an example of a thing that the operation does not have.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder};
use utoipa::openapi::{Content, RefOr};

/// What the file has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Examples {
    /// By name of the parameter, or by operation and name, as in `getLockHistory.cursor`.
    parameters: BTreeMap<String, Value>,
    /// Bodies, by name of their schema, then by name of the example.
    requests: BTreeMap<String, BTreeMap<String, Request>>,
    /// By operation, then by status.
    answers: BTreeMap<String, BTreeMap<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    summary: String,
    body: Value,
}

impl Examples {
    /// Those of the file.
    pub(super) fn read() -> Self {
        let text = include_str!("../../openapi/examples.json");
        serde_json::from_str(text).expect("the file is compiled in, and tests read it")
    }

    /// Gives an operation its own.
    pub(super) fn complete(&self, operation: &mut Operation) {
        let id = operation.operation_id.clone().unwrap_or_default();
        for parameter in operation.parameters.iter_mut().flatten() {
            if let RefOr::T(parameter) = parameter {
                self.parameter(&id, parameter);
            }
        }
        if let Some(RefOr::T(body)) = &mut operation.request_body {
            body.content.values_mut().for_each(|it| self.request(it));
        }
        for (status, value) in self.answers.get(&id).into_iter().flatten() {
            let response = operation.responses.responses.get_mut(status);
            if let Some(RefOr::T(response)) = response
                && let Some(RefOr::T(content)) = response.content.values_mut().next()
            {
                content.example = Some(value.clone());
            }
        }
    }

    fn parameter(&self, operation: &str, parameter: &mut Parameter) {
        let own = format!("{operation}.{}", parameter.name);
        let value = self.parameters.get(&own);
        if let Some(value) = value.or_else(|| self.parameters.get(&parameter.name)) {
            let builder = ParameterBuilder::from(std::mem::take(parameter));
            *parameter = builder.example(Some(value.clone())).build();
        }
    }

    fn request(&self, content: &mut RefOr<Content>) {
        let RefOr::T(content) = content else {
            return;
        };
        let Some(RefOr::Ref(schema)) = &content.schema else {
            return;
        };
        let name = schema.ref_location.rsplit('/').next().unwrap_or_default();
        for (name, request) in self.requests.get(name).into_iter().flatten() {
            let example = ExampleBuilder::new()
                .summary(&request.summary)
                .value(Some(request.body.clone()))
                .build();
            content.examples.insert(name.clone(), example.into());
        }
    }
}

//! The OpenAPI 3.1 document, made from the handlers and completed with what all of them share.
//! In: annotations. Out: one document, the same at each call.
//! Never: an answer that the gate or the connection may give and that is not documented.

use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::schema::{AdditionalProperties, Components, SchemaType};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, ResponseBuilder, Schema, Type};

use super::examples::Examples;
use super::problem::{self, Code};
use super::{claims, docs, headers, locks, node, surveys};

/// Statuses of problems that every operation may answer with; of probes, no 401.
const ALWAYS: &[u16] = &[400, 401, 403, 406, 408, 414, 429, 431, 500, 503];
/// Those that one with a body may answer with besides.
const WITH_BODY: &[u16] = &[413, 415];
/// Operations that ask for no token.
const PROBES: &[&str] = &["getLiveness", "getReadiness"];
/// The one way to show who asks.
const TOKEN: &str = "token";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sidelock",
        description = "Locks, leases, semaphores and leadership for any service, from the sidecar at \
            http://localhost:5625. Every grant carries a fencing token: compare it at the resource, \
            since without that no lease can promise mutual exclusion. Words such as `state`, \
            `reason`, `mode` in answers are open enums: expect new ones.",
        contact(name = "Sidelock", url = "https://sidelock.dev"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "http://localhost:5625", description = "The sidecar beside the app")),
    tags(
        (name = "claims", description = "One claim: the request for locks, then the hold"),
        (name = "locks", description = "Who holds what"),
        (name = "cell", description = "What is to be seen beyond single locks"),
        (name = "sidecar", description = "The sidecar itself"),
    ),
    paths(
        claims::list_claims, claims::create_claim, claims::put_claim, claims::get_claim,
        claims::renew_claim, claims::release_claim, claims::stream_claim_events,
        locks::list_locks, locks::get_lock, locks::stream_lock_events, locks::get_lock_history,
        surveys::explain_lock, locks::verify_token, locks::break_lock,
        surveys::list_deadlocks, surveys::get_lock_order, surveys::get_waits, surveys::list_sessions, surveys::get_contention,
        node::get_mode, node::get_status, node::drain, node::livez, node::readyz, node::get_metrics,
        docs::document,
    ),
    components(schemas(Problem)),
)]
struct Document;

/// Why a request was refused (RFC 9457). Further members depend on the code: `lock`, `holder`,
/// `queue_length` with lock-held and wait-timeout, `cycle` with deadlock, `state` and `reason` with
/// claim-lost, `unknown_fields` with invalid-request.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "only its schema is used: problem.rs writes problems by hand"
)]
struct Problem {
    /// An absolute URI whose last part is the code.
    #[schema(example = "https://sidelock.dev/problems/lock-held", format = "uri")]
    r#type: String,
    /// The code in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 409)]
    status: u16,
    /// What was wrong with this request.
    detail: String,
    /// The path of the request.
    #[schema(example = "/v1/claims/c-7f3a")]
    instance: String,
    /// What a client switches on. Open enum: `x-extensible-enum` lists those of this version.
    #[schema(example = "lock-held")]
    code: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// When trying again may make sense; also in the header `Retry-After`, in seconds.
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
    /// The W3C trace id of the request.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
}

/// The document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    // Without a token, or with one: that depends on how the sidecar was started.
    let token = SecurityRequirement::new(TOKEN, [""; 0]);
    document.security = Some(vec![SecurityRequirement::default(), token]);
    if let Some(components) = &mut document.components {
        for status in ALWAYS.iter().chain(WITH_BODY) {
            let shared = problem(*status, &codes_of(*status));
            components.responses.insert(name(*status), shared.into());
        }
        list_codes(components);
        components.add_security_scheme(TOKEN, token_scheme());
        for name in [
            "ClaimRequest",
            "WantRequest",
            "RenewRequest",
            "VerifyRequest",
            "BreakRequest",
        ] {
            if let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(name) {
                // Unknown fields are refused.
                let none = AdditionalProperties::FreeForm(false);
                schema.additional_properties = Some(Box::new(none));
            }
        }
    }
    let examples = Examples::read();
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            complete(operation);
            examples.complete(operation);
        }
    }
    document
}

/// The document as it stands in `openapi/sidelock.json`.
pub fn openapi_text() -> String {
    let mut text =
        serde_json::to_string_pretty(&openapi()).expect("text and numbers always become JSON");
    text.push('\n');
    text
}

/// Lists the codes of this version where a client looks for them, and leaves room for what depends on them.
fn list_codes(components: &mut Components) {
    let schema = components.schemas.get_mut("Problem");
    let Some(RefOr::T(Schema::Object(schema))) = schema else {
        return;
    };
    let words = Code::ALL.iter().map(|code| code.word());
    let types = words
        .clone()
        .map(|word| format!("{}{word}", problem::TYPE_BASE));
    let known: [(&str, Vec<Value>); 2] = [
        ("code", words.map(Value::from).collect()),
        ("type", types.map(Value::from).collect()),
    ];
    for (field, known) in known {
        if let Some(RefOr::T(Schema::Object(field))) = schema.properties.get_mut(field) {
            let known = ExtensionsBuilder::new().add("x-extensible-enum", known);
            field.extensions = Some(known.build());
        }
    }
    // The further members.
    let any = AdditionalProperties::FreeForm(true);
    schema.additional_properties = Some(Box::new(any));
}

/// Completes it with what every operation may answer.
fn complete(operation: &mut Operation) {
    let mut shared = ALWAYS.to_vec();
    let id = operation.operation_id.clone().unwrap_or_default();
    if PROBES.contains(&id.as_str()) {
        shared.retain(|status| *status != 401);
        operation.security = Some(Vec::new());
    }
    if let Some(body) = &mut operation.request_body {
        shared.extend(WITH_BODY);
        // The one body that may be left out; an `Option` of it would be a oneOf with null.
        if let ("renewClaim", RefOr::T(body)) = (id.as_str(), body) {
            body.required = Some(Required::False);
        }
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            without_null(parameter);
        }
    }
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        let RefOr::T(response) = response else {
            continue;
        };
        match status.parse::<u16>() {
            Ok(status) if status >= 400 => {
                *response = problem(status, &response.description);
            }
            Ok(status) => {
                let named = headers::of_answer(&id, status);
                let named = named.into_iter();
                let named = named.map(|(name, header)| (name.to_owned(), header.into()));
                response.headers.extend(named);
            }
            Err(_) => {}
        }
    }
    for status in shared {
        let reference = Ref::from_response_name(name(status));
        responses
            .entry(status.to_string())
            .or_insert(reference.into());
    }
}

/// What is left out is absent, so no parameter may be null either.
fn without_null(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else {
        return;
    };
    if let SchemaType::Array(types) = &mut schema.schema_type {
        types.retain(|known| *known != Type::Null);
        if let [only] = types.as_slice() {
            schema.schema_type = SchemaType::Type(only.clone());
        }
    }
}

fn name(status: u16) -> String {
    format!("Problem{status}")
}

fn codes_of(status: u16) -> String {
    let words: Vec<&str> = Code::ALL
        .iter()
        .filter(|code| code.status().as_u16() == status)
        .map(|code| code.word())
        .collect();
    words.join(", ")
}

fn problem(status: u16, description: &str) -> utoipa::openapi::Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let mut response = ResponseBuilder::new()
        .description(description)
        .content(problem::MEDIA_TYPE, content);
    for (name, header) in headers::of_problem(status) {
        response = response.header(name, header);
    }
    response.build()
}

fn token_scheme() -> SecurityScheme {
    let text = "Asked for if the sidecar was started with `--api-token-file`: what is in that file";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    SecurityScheme::Http(scheme.description(Some(text)).build())
}

//! The headers of answers, as the OpenAPI document tells of them. They repeat what stands in bodies, for proxies,
//! logs and shells.
//! In: an operation, a status. Out: names and what they hold. Never: a header that is not sent.

use utoipa::openapi::{
    Header, HeaderBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};

/// Operations that answer with a claim.
const CLAIMS: &[&str] = &["createClaim", "putClaim", "getClaim", "renewClaim"];
/// Operations whose answers say what they are worth.
const READS: &[&str] = &[
    "listLocks",
    "getLock",
    "getLockHistory",
    "explainLock",
    "listDeadlocks",
    "getLockOrder",
    "getWaits",
    "listSessions",
    "getContention",
];

/// Those of a good answer.
pub(super) fn of_answer(operation: &str, status: u16) -> Vec<(&'static str, Header)> {
    let mut headers = vec![mode()];
    if CLAIMS.contains(&operation) {
        headers.push(("Sidelock-Claim-Id", text("The claim's id")));
    }
    // A stream begins before it is known.
    let streams = (operation, status) == ("createClaim", 200);
    if CLAIMS.contains(&operation) && !streams {
        headers.push((
            "Sidelock-Token",
            number("The fencing token of a claim that holds one lock"),
        ));
    }
    if operation == "createClaim" && matches!(status, 201 | 202) {
        headers.push(("Location", text("The path of the claim")));
    }
    if READS.contains(&operation) {
        let known = "Open enum: linearizable, cached";
        headers.push(("Sidelock-Consistency", text(known)));
        headers.push((
            "Age",
            number("Bound of the answer's age, in seconds, rounded up"),
        ));
    }
    headers
}

/// Those of a problem.
pub(super) fn of_problem(status: u16) -> Vec<(&'static str, Header)> {
    let mut headers = vec![mode()];
    if matches!(status, 409 | 429 | 503) {
        let when = "When trying again may make sense, in seconds, rounded up";
        headers.push(("Retry-After", number(when)));
    }
    if status == 401 {
        headers.push(("WWW-Authenticate", text("`Bearer`")));
    }
    headers
}

fn mode() -> (&'static str, Header) {
    (
        "Sidelock-Mode",
        text("Open enum: normal, jeopardy, read-only"),
    )
}

fn text(description: &str) -> Header {
    header(ObjectBuilder::new().schema_type(Type::String), description)
}

fn number(description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::Integer);
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    header(schema.format(Some(format)), description)
}

fn header(schema: ObjectBuilder, description: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(Schema::from(schema.build())))
        .description(Some(description))
        .build()
}

"""What must be true of the document itself, beyond what its rules of style ask (openapi/*.yaml).

In: the document, openapi/examples.json, docs/problems.md. Out: complaints, a list for each sentence. Never: an example
that its own schema refuses.
"""

import json
import re

import document as d


def every_parameter_and_body_has_an_example(document, _files):
    for operation in document.operations.values():
        for parameter in operation.parameters:
            if "example" not in parameter:
                yield f"{operation.id}: the parameter {parameter['name']} has none"
            elif wrong := document.complaint(parameter["schema"], parameter["example"]):
                yield f"{operation.id}: {parameter['name']}: {wrong}"
        if operation.body_schema and not operation.bodies:
            yield f"{operation.id}: its body has none"
        for name, body in operation.bodies.items():
            if wrong := document.complaint(operation.body_schema, body):
                yield f"{operation.id}: {name}: {wrong}"


def every_good_answer_has_an_example(document, _files):
    for operation in document.operations.values():
        for status, answer in operation.own.items():
            for kind, content in answer.get("content", {}).items():
                if "example" not in content:
                    if status.startswith("2"):
                        yield f"{operation.id}: {status} has none"
                elif wrong := document.complaint(content["schema"], content["example"]):
                    yield f"{operation.id}: {status} {kind}: {wrong}"


def every_example_of_the_file_is_in_the_document(document, files):
    examples = json.loads(files["openapi/examples.json"])
    text = json.dumps(document.all["paths"])
    for bodies in examples["requests"].values():
        yield from (f"the request {name} is nowhere" for name, one in bodies.items() if json.dumps(one["summary"]) not in text)
    for of, answers in examples["answers"].items():
        operation = document.operations.get(of)
        for status, value in answers.items():
            contents = operation.responses.get(status, {}).get("content", {}).values() if operation else ()
            if value not in [content.get("example") for content in contents]:
                yield f"the answer {status} of {of} is nowhere"
    names = {name for operation in document.operations.values() for each in operation.parameters
             for name in (each["name"], f"{operation.id}.{each['name']}")}
    yield from (f"there is no parameter {name}" for name in examples["parameters"].keys() - names)


def every_code_is_listed_and_explained(document, files):
    rows = re.findall(r"^\| (`[^|]*) \| ([0-9, ]+) \|", files["docs/problems.md"], re.MULTILINE)
    explained = {code for codes, _ in rows for code in re.findall(r"`([a-z-]+)`", codes)}
    listed = set(document.codes())
    yield from (f"{code} is not in docs/problems.md" for code in listed - explained)
    yield from (f"{code} of docs/problems.md is not in the document" for code in explained - listed)
    types = document.all["components"]["schemas"]["Problem"]["properties"]["type"]["x-extensible-enum"]
    if [one.rsplit("/", 1) for one in types] != [["https://sidelock.dev/problems", code] for code in document.codes()]:
        yield f"the types are not those of the codes: {types}"


def every_refusal_is_a_problem_that_names_its_codes(document, _files):
    for operation in document.operations.values():
        for status, answer in operation.responses.items():
            if status < "400":
                continue
            if list(answer["content"]) != [d.PROBLEM]:
                yield f"{operation.id}: {status} is {list(answer['content'])}"
            if not any(re.search(rf"\b{code}\b", answer["description"]) for code in document.codes()):
                yield f"{operation.id}: {status} names no code: {answer['description']}"


SENTENCES = [
    every_parameter_and_body_has_an_example, every_good_answer_has_an_example, every_example_of_the_file_is_in_the_document,
    every_code_is_listed_and_explained, every_refusal_is_a_problem_that_names_its_codes,
]

"""Asks the sidecar as an app of the pod does: ask.py METHOD PATH BODY; prints the status and the JSON of the answer."""

import http.client
import json
import sys

method, path, body = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", 5625, timeout=30)
headers = {} if body == "null" else {"content-type": "application/json"}
connection.request(method, path, None if body == "null" else body, headers)
answer = connection.getresponse()
text = answer.read()
print(json.dumps([answer.status, json.loads(text) if text else None]))

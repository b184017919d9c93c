"""A model server for trying the plugin without a model: it repeats what it is told. `python3 server.py 8901`."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Parrot(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = "You said: " + body["messages"][-1]["content"]
        usage = {"prompt_tokens": 4, "completion_tokens": len(text.split())}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choices = [{"message": message, "finish_reason": "stop"}]
            return self.answer("application/json", json.dumps({"model": "parrot", "choices": choices, "usage": usage}))
        events = [{"choices": [{"delta": {"content": word + " "}}]} for word in text.split(" ")]
        events += [{"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
        self.answer("text/event-stream", "".join(lines))

    def do_GET(self):
        self.answer("application/json", json.dumps({"data": [{"id": "parrot"}]}))

    def answer(self, kind, text):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Parrot).serve_forever()

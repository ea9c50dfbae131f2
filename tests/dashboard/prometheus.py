"""A Prometheus of our own: its process, and what is asked of it."""

import http.client
import json
import math
import urllib.parse

SCRAPE_SECONDS = 1


class Prometheus:
    """Scrapes these jobs, {name: addresses}, with these rules."""

    def __init__(self, directory, parts, rules, jobs):
        self.parts = parts
        self.address = f"127.0.0.1:{parts.free_ports(1)[0]}"
        # JSON is YAML too.
        config = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": [rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(targets)}]} for job, targets in jobs.items()
            ],
        }
        with open(f"{directory}/prometheus.yaml", "w") as file:
            json.dump(config, file)
        self.process = parts.Part(
            "prometheus",
            ["prometheus", f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/prometheus",
             f"--web.listen-address={self.address}", "--enable-feature=exemplar-storage"],
            f"{directory}/prometheus.log",
        )
        self.scraped = 0.0

    def start(self):
        self.process.start()
        self.parts.wait_for("Prometheus", lambda: self.parts.get(self.address, "/api/v1/status/config"))

    def stop(self):
        self.parts.stop_all([self.process], patience=5.0)

    def _ask(self, path, **query):
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def alerts(self):
        """The alerting rules, as Prometheus has read them."""
        groups = self._ask("/api/v1/rules", type="alert")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def wait_for_scrape(self):
        """Until each target has been scraped once more."""
        def scraped():
            answer = self._ask("/api/v1/query", query="min(timestamp(up))")["data"]["result"]
            newest = float(answer[0]["value"][1]) if answer else 0.0
            return newest if newest > self.scraped else None

        self.scraped = self.parts.wait_for("a scrape", scraped)

    def why_empty(self, query):
        """Nothing if the answer has a number in it, else what is wrong."""
        answer = self._ask("/api/v1/query", query=query)
        if answer["status"] != "success":
            return answer["error"]
        values = [float(series["value"][1]) for series in answer["data"]["result"]]
        if not values:
            return "no answer"
        return "no number" if all(math.isnan(value) for value in values) else None

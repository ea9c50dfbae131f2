package dev.sidelock;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/** Drives the client by steps: a line of JSON in, a line out. */
final class Conformance {
    private static final Map<String, Sidelock.Lock> LOCKS = new HashMap<>();
    private static final Map<String, CompletableFuture<Sidelock.Lock>> BEGUN = new HashMap<>();
    private static final Map<String, CompletableFuture<Map<String, Object>>> LOSSES = new HashMap<>();

    @SuppressWarnings("unchecked")
    private static Sidelock.Lock take(Map<String, Object> step) {
        var names = (List<String>) step.getOrDefault("locks", List.of(String.valueOf(step.get("lock"))));
        var want = Sidelock.Want.of(names.toArray(String[]::new));
        if (step.get("wait_ms") instanceof Long wait) want.waiting(Duration.ofMillis(wait));
        if (step.get("ttl_ms") instanceof Long ttl) want.ttl(Duration.ofMillis(ttl));
        ((Map<String, Object>) step.getOrDefault("fields", Map.of())).forEach(want::with);
        var url = (String) step.get("url");
        var client = step.get("token_file") instanceof String file ? new Sidelock(url, Path.of(file)) : new Sidelock(url);
        try {
            return client.lock(want);
        } catch (InterruptedException never) {
            throw new IllegalStateException(never);
        }
    }

    private static Map<String, Object> hold(String name, Sidelock.Lock lock) {
        LOCKS.put(name, lock);
        LOSSES.put(name, lock.lost().thenApply(error -> Map.of("code", error.code, "reason", error.reason,
            "late_ms", (System.nanoTime() - lock.deadline()) / 1e6)));
        return Map.of("ok", true, "token", lock.token(), "names", List.copyOf(lock.tokens().keySet()));
    }

    private static Map<String, Object> play(Map<String, Object> step) {
        var name = (String) step.get("as");
        switch ((String) step.get("do")) {
            case "lock" -> { return hold(name, take(step)); }
            case "begin" -> BEGUN.put(name, CompletableFuture.supplyAsync(() -> take(step)));
            case "join" -> { return hold(name, BEGUN.get(name).join()); }
            case "check" -> LOCKS.get(name).check();
            case "release" -> LOCKS.get(name).close();
            default -> { return LOSSES.get(name).join(); }
        }
        return Map.of("ok", true);
    }

    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> answer;
            try {
                answer = play(Json.read(line));
            } catch (Sidelock.LockException | CompletionException error) {
                var refused = (Sidelock.LockException) (error.getCause() == null ? error : error.getCause());
                answer = Map.of("code", refused.code, "retryable", refused.retryable);
            }
            System.out.println(Json.write(answer));
        }
    }
}

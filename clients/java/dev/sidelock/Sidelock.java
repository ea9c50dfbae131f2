package dev.sidelock;

import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.channels.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Locks from the Sidelock sidecar of this host.
 * <pre>{@code
 * try (var held = new Sidelock().lock(Want.of("orders/42").waiting(Duration.ofSeconds(5)))) {
 *     write(held.token());   // the resource refuses a smaller token
 *     held.check();          // throws once the hold is not certain
 * }
 * }</pre>
 * One request claims, waits and keeps the lock for as long as it is open; nothing has to be renewed. Until when the
 * hold is certain ({@code deadline}) is asked anew at a third of the time left. Only an answer to a request of ours
 * moves it, and it counts from before that request was sent: early is safe, late is a lost lock.
 * <p>Loss completes {@code lost()}: at the deadline, or at once when the sidecar says so or its stream breaks. Java's
 * nanoTime does not count the time that the machine is suspended; the sidecar's does, and tells at the resume. Java 17.
 */
public final class Sidelock {
    /** For what is answered at once; the sidecar itself holds nothing back for longer than 3 s. */
    private static final Duration ANSWER_MAX = Duration.ofSeconds(5);
    private static final long LOOK_LEAST_NANOS = 50_000_000; // between two looks at a hold whose deadline is near
    private static final ExecutorService THREADS = Executors.newCachedThreadPool(Sidelock::daemon); // each hold needs one
    /** Never waits for anything, so that a deadline is told in time. */
    private static final ScheduledExecutorService TIMER = Executors.newSingleThreadScheduledExecutor(Sidelock::daemon);

    private final String url;
    private final Path tokenFile;
    private final HttpClient http;

    /** Asks the sidecar of SIDELOCK_URL, else port 5625 here. */
    public Sidelock() { this(set("SIDELOCK_URL").orElse("http://127.0.0.1:5625")); }
    /** Asks one sidecar: http://HOST:PORT or unix:PATH, with the token of SIDELOCK_API_TOKEN_FILE if that is set. */
    public Sidelock(String url) { this(url, set("SIDELOCK_API_TOKEN_FILE").map(Path::of).orElse(null)); }
    /** With a token; its file is read anew for each request. Null: none. */
    public Sidelock(String url, Path tokenFile) {
        this.url = url;
        this.tokenFile = tokenFile;
        this.http = url.startsWith("unix:") ? null : HttpClient.newBuilder().executor(THREADS)
            .version(HttpClient.Version.HTTP_1_1).proxy(HttpClient.Builder.NO_PROXY).build();
    }

    /** Claims, and waits if that was asked for. An interrupt ends the wait. */
    public Lock lock(Want want) throws InterruptedException {
        long asked = System.nanoTime();
        // The stream begins before the wait does.
        var answer = await(() -> send("POST", "/v1/claims", Json.write(want.body), "text/event-stream"), ANSWER_MAX);
        try {
            var first = await(answer::next, ANSWER_MAX);
            boolean waited = false;
            for (; first != null && first.get("state").equals("queued"); first = await(answer::next, null)) waited = true;
            if (first == null) throw LockException.later("sidecar-unreachable", "the stream broke during the wait");
            // What ends a wait has the name of the problem that a try would get.
            if (!first.get("state").equals("granted")) throw LockException.later(why(first), "the wait ended");
            // After a wait the event's times count from the grant, and who knows when that was.
            return new Lock(waited ? look((String) first.get("claim_id")) : new Look(asked, first), answer);
        } catch (InterruptedException | RuntimeException error) {
            answer.hangUp();
            throw error;
        }
    }

    /** A claim on one lock or several, all or nothing. */
    public static final class Want {
        private final Map<String, Object> body = new LinkedHashMap<>();

        /** Names, of which the claim takes all. */
        public static Want of(String... names) {
            return names.length == 1 ? new Want().with("lock", names[0])
                : new Want().with("locks", Arrays.stream(names).map(name -> Map.of("name", name)).toList());
        }

        /** How long to wait; without it, it tries once. */
        public Want waiting(Duration time) { return with("wait_ms", time.toMillis()); }
        /** How long a hold outlives a stream of the sidecar that broke; 10 s without it. */
        public Want ttl(Duration time) { return with("ttl_ms", time.toMillis()); }
        /** A field as the API names it: mode, limit, permits, owner, metadata, value, priority, min_hold_ms, locks. */
        public Want with(String field, Object value) {
            body.put(field, value);
            return this;
        }
    }

    /**
     * A refusal, or a loss ({@code claim-lost}). Decide by {@code code}: those of docs/problems.md, and sidecar-unreachable
     * if nobody answers. {@code retryable}: whether the same may succeed later; {@code retryAfterMs}: when (null: not known);
     * {@code reason}: why a claim was lost, one of the sidecar's reasons, deadline-passed or stream-broken.
     */
    @SuppressWarnings("serial")
    public static final class LockException extends RuntimeException {
        public final String code, reason;
        public final boolean retryable;
        public final Long retryAfterMs;

        private LockException(Map<String, ?> problem) {
            super(problem.get("code") + ": " + problem.get(problem.containsKey("detail") ? "detail" : "reason"));
            code = (String) problem.get("code");
            retryable = problem.get("retryable") == Boolean.TRUE;
            retryAfterMs = (Long) problem.get("retry_after_ms");
            reason = (String) problem.get("reason");
        }

        static LockException lost(Object why) { return new LockException(Map.of("code", "claim-lost", "reason", why)); }
        static LockException later(Object code, String detail) {
            return new LockException(Map.of("code", code, "detail", detail, "retryable", true));
        }
    }

    /** A hold. */
    public final class Lock implements AutoCloseable {
        private final Answer stream;
        private final String claimId;
        private final Map<String, Long> tokens = new LinkedHashMap<>();
        private final CompletableFuture<LockException> lost = new CompletableFuture<>();
        private volatile long deadline;
        private final AtomicBoolean closed = new AtomicBoolean();
        private Future<?> alarm; // under this

        private Lock(Look first, Answer stream) {
            this.stream = stream;
            claimId = (String) first.claim.get("claim_id");
            for (var it : (List<?>) first.claim.get("locks"))
                if (it instanceof Map<?, ?> lock) tokens.put((String) lock.get("name"), (Long) lock.get("token"));
            certain(first);
            THREADS.execute(this::follow);
        }

        /** The holder. */
        public String claimId() { return claimId; }
        /** The fencing token; of several locks, that of the first. */
        public long token() { return tokens.values().iterator().next(); }
        /** The fencing tokens by name. */
        public Map<String, Long> tokens() { return Map.copyOf(tokens); }
        /** Until when the hold is certain, of System.nanoTime(). */
        public long deadline() { return deadline; }
        /** Completes when the lock is lost; not by close. What is hung on it must not block. */
        public CompletableFuture<LockException> lost() { return lost; }
        /** Throws unless the hold is certain now. */
        public void check() {
            if (lost.isDone()) throw lost.join();
            if (closed.get() || System.nanoTime() - deadline >= 0) throw LockException.lost("deadline-passed");
        }

        /** Gives it back; repeats do nothing. Throws, with code claim-lost, if the hold was not valid until now. */
        @Override public void close() {
            if (closed.getAndSet(true)) return;
            try {
                if (lost.isDone()) throw lost.join();
                ask("DELETE", claimId);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt(); // closing the stream ends the hold, too
            } finally {
                stream.hangUp(); // only now: a stream closed without DELETE is a death; that lets go of a lost hold, too
            }
        }

        private synchronized void certain(Look look) {
            if (closed.get() || lost.isDone()) return;
            if (alarm != null) alarm.cancel(false);
            deadline = look.asked + (Long) look.claim.get("safe_for_ms") * 1_000_000;
            long left = deadline - System.nanoTime();
            alarm = TIMER.schedule(() -> lose("deadline-passed"), left, TimeUnit.NANOSECONDS);
            lookIn(left / 3);
        }

        private void lookIn(long nanos) {
            TIMER.schedule(() -> THREADS.execute(this::look), Math.max(nanos, LOOK_LEAST_NANOS), TimeUnit.NANOSECONDS);
        }

        private void look() {
            if (closed.get() || lost.isDone()) return;
            try {
                certain(Sidelock.this.look(claimId));
            } catch (InterruptedException | LockException error) {
                if (error instanceof LockException known && known.reason != null) lose(known.reason);
                lookIn((deadline - System.nanoTime()) / 3); // else the deadline decides
            }
        }

        private void follow() {
            for (var claim = stream.next(); claim != null; claim = stream.next())
                if (!claim.get("state").equals("granted")) lose(why(claim));
            lose("stream-broken");
        }

        private void lose(Object reason) {
            if (!closed.get()) lost.complete(LockException.lost(reason)); // the first one counts
        }
    }

    private record Look(long asked, Map<String, Object> claim) {}
    private static Object why(Map<String, Object> claim) { return claim.getOrDefault("reason", claim.get("state")); }

    private Look look(String id) throws InterruptedException {
        long asked = System.nanoTime();
        var claim = ask("GET", id);
        if (!claim.get("state").equals("granted")) throw LockException.lost(why(claim));
        return new Look(asked, claim);
    }

    private Map<String, Object> ask(String method, String id) throws InterruptedException {
        return await(() -> {
            try (var lines = send(method, "/v1/claims/" + id, "", "application/json").lines) {
                return Optional.ofNullable(lines.readLine()).map(Json::read).orElse(Map.of());
            }
        }, ANSWER_MAX);
    }

    /** An answer whose body is still to be read. */
    private record Answer(int status, BufferedReader lines, Closeable body) {
        void hangUp() {
            try {
                body.close(); // not through the reader, which waits for a read that is under way
            } catch (IOException closed) { /* as it should be */ }
        }

        /** The claim of the next event; its state says all. Null: the stream has ended. */
        Map<String, Object> next() {
            try {
                for (var line = lines.readLine(); line != null; line = lines.readLine()) {
                    var event = line.startsWith("data:") ? Json.read(line.substring(5)) : Map.<String, Object>of();
                    // The event `mode`, and what is yet unknown, have no claim.
                    if (event.containsKey("claim_id")) return event;
                }
            } catch (IOException broken) { /* has ended as well */ }
            return null;
        }
    }

    private Answer send(String method, String path, String body, String accept) throws Exception {
        var headers = new LinkedHashMap<>(Map.of("Accept", accept, "Content-Type", "application/json"));
        try {
            if (tokenFile != null) headers.put("Authorization", "Bearer " + Files.readString(tokenFile).strip());
        } catch (IOException error) {
            throw new LockException(Map.of("code", "unauthorized", "detail", error.toString()));
        }
        var answer = http == null ? sendUnix(method, path, body, headers) : sendTcp(method, path, body, headers);
        if (answer.status < 400) return answer;
        try (answer.lines) {
            var line = answer.lines.readLine();
            var problem = line != null && line.startsWith("{") ? Json.read(line) : Map.<String, Object>of();
            if (problem.containsKey("code")) throw new LockException(problem);
            throw LockException.later("sidecar-unreachable", "status " + answer.status + " without a problem");
        }
    }

    private Answer sendTcp(String method, String path, String body, Map<String, String> headers) throws Exception {
        var content = HttpRequest.BodyPublishers.ofString(body);
        var request = HttpRequest.newBuilder(URI.create(url + path)).method(method, content);
        headers.forEach(request::header);
        var answer = http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
        var lines = new BufferedReader(new InputStreamReader(answer.body(), StandardCharsets.UTF_8));
        return new Answer(answer.statusCode(), lines, answer.body());
    }

    /** The JDK's HTTP client knows no Unix sockets. HTTP/1.0: the answer ends with the connection, so it has no chunks. */
    private Answer sendUnix(String method, String path, String body, Map<String, String> headers) throws IOException {
        var socket = SocketChannel.open(UnixDomainSocketAddress.of(url.substring("unix:".length())));
        headers.put("Content-Length", String.valueOf(body.getBytes(StandardCharsets.UTF_8).length));
        var head = new StringBuilder(method + " " + path + " HTTP/1.0\r\nHost: localhost\r\n");
        headers.forEach((name, value) -> head.append(name + ": " + value + "\r\n"));
        Channels.newOutputStream(socket).write((head + "\r\n" + body).getBytes(StandardCharsets.UTF_8));
        var lines = new BufferedReader(new InputStreamReader(Channels.newInputStream(socket), StandardCharsets.UTF_8));
        var status = lines.readLine().split(" "); // a null is a failure like any other
        while (!lines.readLine().isEmpty()) continue;
        return new Answer(Integer.parseInt(status[1]), lines, socket);
    }

    /** Its result; at most after so long, or ever. An interrupt of either end closes what it waits for. */
    private static <T> T await(Callable<T> work, Duration most) throws InterruptedException {
        var future = THREADS.submit(work);
        try {
            return most == null ? future.get() : future.get(most.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException | TimeoutException error) {
            if (error.getCause() instanceof LockException known) throw known;
            throw LockException.later("sidecar-unreachable", error.toString());
        } finally {
            future.cancel(true);
        }
    }

    private static Optional<String> set(String variable) {
        return Optional.ofNullable(System.getenv(variable)).filter(value -> !value.isEmpty());
    }

    private static Thread daemon(Runnable work) {
        var thread = new Thread(work, "sidelock");
        thread.setDaemon(true);
        return thread;
    }
}

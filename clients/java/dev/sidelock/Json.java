package dev.sidelock;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** As much JSON as the sidecar's objects need, since the JDK has none: integers are Long, other numbers Double. */
final class Json {
    private final String text;
    private int at;

    private Json(String text) { this.text = text; }

    /** The object that this text is. */
    @SuppressWarnings("unchecked")
    static Map<String, Object> read(String text) { return (Map<String, Object>) new Json(text).value(); }

    static String write(Object value) {
        if (value instanceof Map<?, ?> map) return map.entrySet().stream()
            .map(it -> quote((String) it.getKey()) + ":" + write(it.getValue())).collect(Collectors.joining(",", "{", "}"));
        if (value instanceof List<?> list)
            return list.stream().map(Json::write).collect(Collectors.joining(",", "[", "]"));
        return value instanceof String string ? quote(string) : String.valueOf(value);
    }

    private static String quote(String string) {
        return string.chars().mapToObj(c -> c >= ' ' && c != '"' && c != '\\' ? String.valueOf((char) c)
            : String.format("\\u%04x", c)).collect(Collectors.joining("", "\"", "\""));
    }

    private Object value() {
        switch (peek()) {
            case '{' -> {
                var map = new LinkedHashMap<String, Object>();
                for (at++; peek() != '}'; comma()) {
                    var name = (String) value();
                    peek();
                    at++; // the colon
                    map.put(name, value());
                }
                at++;
                return map;
            }
            case '[' -> {
                var list = new ArrayList<>();
                for (at++; peek() != ']'; comma()) list.add(value());
                at++;
                return list;
            }
            case '"' -> { return string(); }
            default -> {
                int from = at;
                while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) at++;
                var word = text.substring(from, at);
                return switch (word) {
                    case "true" -> Boolean.TRUE;
                    case "false" -> Boolean.FALSE;
                    case "null" -> null;
                    default -> word.matches("-?\\d+") ? (Object) Long.valueOf(word) : Double.valueOf(word);
                };
            }
        }
    }

    private String string() {
        var out = new StringBuilder();
        for (at++; text.charAt(at) != '"'; at++) {
            char c = text.charAt(at);
            if (c == '\\') {
                c = text.charAt(++at);
                int known = "bfnrt".indexOf(c);
                if (known >= 0) c = "\b\f\n\r\t".charAt(known);
                if (text.charAt(at) == 'u') {
                    c = (char) Integer.parseInt(text.substring(at + 1, at + 5), 16);
                    at += 4;
                }
            }
            out.append(c);
        }
        at++;
        return out.toString();
    }

    private char peek() {
        while (Character.isWhitespace(text.charAt(at))) at++;
        return text.charAt(at);
    }

    private void comma() {
        if (peek() == ',') at++;
    }
}

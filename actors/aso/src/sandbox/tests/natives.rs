//! The functions that scripts can use: each does what its line says, and stands any argument.

use super::*;

#[test]
fn functions_do_what_their_lines_say() {
    let bench = Bench::new();
    for (body, text) in [
        ("\"Grüße\".len", "5"),
        ("\"Grüße\".bytes", "7"),
        ("\"\".is_empty", "true"),
        ("\"abc\".contains(\"bc\")", "true"),
        ("\"abc\".contains('d')", "false"),
        ("\"bc\" in \"abc\"", "true"),
        ("2 in [1, 2]", "true"),
        ("\"a\" in #{ a: 1 }", "true"),
        ("5 in 0..9", "true"),
        ("9 in 0..=9", "true"),
        ("\"abc\".starts_with(\"ab\")", "true"),
        ("\"abc\".ends_with(\"ab\")", "false"),
        ("\"äbc\".index_of(\"c\")", "2"),
        ("\"abc\".index_of(\"x\")", "-1"),
        ("\"äbcd\".sub_string(1, 2)", "bc"),
        ("\"abcd\".sub_string(-2)", "cd"),
        ("\"abcd\".sub_string(9)", ""),
        ("\"abcd\".sub_string(1, -1)", ""),
        ("\"a,b,,c\".split(\",\")", "[\"a\", \"b\", \"\", \"c\"]"),
        ("\" a  b \".split()", "[\"a\", \"b\"]"),
        ("\"ab\".split(\"\")", "['a', 'b']"),
        ("let s = \"a-b-c\"; s.replace(\"-\", \"+\"); s", "a+b+c"),
        ("let s = \"  a \"; s.trim(); s", "a"),
        ("let s = \"ab\"; s.make_upper(); s", "AB"),
        ("\"Ab\".to_lower()", "ab"),
        ("'a'.to_upper()", "A"),
        ("let s = \"abc\"; s.truncate(2); s", "ab"),
        ("let s = \"abc\"; s.crop(1); s", "bc"),
        ("let s = \"a\"; s.pad(3, \"-\"); s", "a--"),
        ("let s = \"abab\"; s.remove(\"a\"); s", "bb"),
        ("let s = \"a\"; s.clear(); s", ""),
        ("\"ab\".to_chars()", "['a', 'b']"),
        ("\"abc\"[1]", "b"),
        ("\"abc\"[-1]", "c"),
        ("\"äb\".get(0)", "ä"),
        ("\"a\".get(5)", ""),
        ("let t = \"\"; for c in \"äb\" { t += c; t += '.'; } t", "ä.b."),
        ("parse_int(\"12\") + parse_float(\"0.5\")", "12.5"),
        ("parse_int(\"ff\", 16)", "255"),
        ("\"7\".parse_int()", "7"),
        ("2.7.to_int()", "2"),
        ("7.to_float()", "7.0"),
        ("\"a\" + 1 + 2.5 + true + [1] + #{ a: \"x\" } + () + 'c'", "a12.5true[1]#{\"a\": \"x\"}c"),
        ("1 + \"a\"", "1a"),
        ("let s = \"a\"; s += 1; s += [2]; s", "a1[2]"),
        ("`${1 + 1} ${[1, \"a\"]} ${#{ a: 'c' }} ${()}`", "2 [1, \"a\"] #{\"a\": 'c'} "),
        ("42.to_string()", "42"),
        ("type_of(1.0)", "f64"),
        ("max(1, 2)", "2"),
        ("(-3).abs()", "3"),
        ("PI().to_string().len > 5", "true"),
        ("2 ** 10", "1024"),
        ("7 % 4", "3"),
        ("1 == 1.0", "true"),
        ("16.0.sqrt()", "4.0"),
        ("sort([]) ?? 1", "1"),
        ("let a = [1]; a.push(2); a.insert(0, 0); a.insert(-1, 9); a", "[0, 1, 9, 2]"),
        ("let a = [1, 2, 3]; [a.pop(), a.shift(), a.remove(0), a.pop()]", "[3, 1, 2, ()]"),
        ("let a = [3, 1, 2]; a.sort(); a.reverse(); a", "[3, 2, 1]"),
        ("let a = [\"b\", \"a\"]; a.sort(); a", "[\"a\", \"b\"]"),
        ("let a = [2, 1.5, 1]; a.sort(); a", "[1, 1.5, 2]"),
        ("let a = [1, 2, 3, 4]; a.sort(|x, y| y - x); a", "[4, 3, 2, 1]"),
        ("let a = [1, 2]; a.sort(|x, y| x > y); a", "[2, 1]"),
        (
            "let a = [#{ k: 2, n: 1 }, #{ k: 1, n: 2 }, #{ k: 2, n: 3 }]; a.sort(|x, y| x.k - y.k); a.map(|x| x.n)",
            "[2, 1, 3]",
        ),
        ("[1, 2, 3].map(|x| x * x)", "[1, 4, 9]"),
        ("[1, 2, 3].filter(|x| x != 2)", "[1, 3]"),
        ("[1, 2, 3].reduce(|sum, x| sum + x, 10)", "16"),
        ("[1].reduce(|sum, x| sum ?? x)", "1"),
        ("[1, 2].some(|x| x == 2)", "true"),
        ("[1, 2].all(|x| x == 2)", "false"),
        ("[1, 2].find(|x| x > 1)", "2"),
        ("[1].find(|x| x > 1)", ""),
        ("[1, 2].find_index(|x| x > 1)", "1"),
        ("[1, 2, 3, 4].extract(1, 2)", "[2, 3]"),
        ("[1, 2, 3].extract(-2)", "[2, 3]"),
        ("let a = [1, 2, 3]; a.truncate(2); a.chop(1); a", "[2]"),
        ("let a = []; a.pad(2, 7); a", "[7, 7]"),
        ("[1, [2]] == [1.0, [2]]", "true"),
        ("[1] != [2]", "true"),
        ("#{ a: [1] } == #{ a: [1] }", "true"),
        ("[1] == 1", "false"),
        ("[[1]].contains([1])", "true"),
        ("[\"a\"].index_of(\"a\")", "0"),
        ("[1, \"a\", [2]].join(\"-\")", "1-a-[2]"),
        ("[1] + [2]", "[1, 2]"),
        ("let a = [1]; a += [2]; a += 3; a", "[1, 2, 3]"),
        ("let a = [1]; a.set(0, 5); a[0] += 1; a", "[6]"),
        ("[1].get(3)", ""),
        (
            "let m = #{ b: 1, a: 2 }; [m.keys(), m.values(), m.len(), m.contains(\"a\")]",
            "[[\"a\", \"b\"], [2, 1], 2, true]",
        ),
        ("let m = #{ a: 1 }; m.b = 2; m[\"c\"] = 3; m.remove(\"a\"); m", "#{\"b\": 2, \"c\": 3}"),
        (
            "let m = #{ a: 1 }; m.mixin(#{ a: 2, b: 3 }); m.fill_with(#{ a: 9, z: 1 }); m",
            "#{\"a\": 2, \"b\": 3, \"z\": 1}",
        ),
        ("#{ a: 1 } + #{ b: 2 }", "#{\"a\": 1, \"b\": 2}"),
        ("#{ a: 1, b: 2 }.filter(|name, x| name == \"b\" && x == 2)", "#{\"b\": 2}"),
        ("#{ a: 1 }.get(\"b\")", ""),
        ("#{}.b", ""),
        ("let t = 0; for i in range(0, 10, 3) { t += i; } t", "18"),
        ("let t = []; for i in range(3, 0, -1) { t.push(i); } t", "[3, 2, 1]"),
        ("let t = 0; for (x, i) in [5, 6] { t += x * i; } t", "6"),
        (
            "let b = to_blob(\"ab\"); [b.len, b[0], b[-1], b.to_hex(), b.as_string(), b == to_blob(\"ab\")]",
            "[2, 97, 98, \"6162\", \"ab\", true]",
        ),
        ("parse_hex(\"ff\").as_string()", ""),
        ("let f = Fn(\"max\"); f.call(1, 2)", "2"),
        ("call(|x| x + 1, 1)", "2"),
        ("let m = #{ f: |x| x + 1 }; m.f(2)", "3"),
        ("is_def_fn(\"onGet\", 0)", "true"),
    ] {
        let outcome = bench.run(&format!("fn onGet() {{ let it = {{ {body} }}; `${{it}}` }}"));
        assert_eq!(outcome.map(|outcome| outcome.reply), Ok(Value::from(text)), "{body}");
    }
}

#[test]
fn wrong_arguments_are_complaints_that_a_script_can_catch() {
    let bench = Bench::new();
    for body in [
        "[1].set(5, 1)",
        "range(0, 1, 0)",
        "[[]].sort(); 1",
        "[1, \"a\"].sort()",
        "[1].filter(|x| x)",
        "[1].map(1)",
        "parse_int(\"x\")",
        "[1].nothing()",
        "9223372036854775807 + 1",
        "-9223372036854775808 / -1",
        "1 % 0",
        "1 << 99999999999",
        "2 ** 9999",
        "[1][5]",
        "\"a\"[5]",
        "to_blob(\"a\")[1]",
        "parse_hex(\"f\")",
        "\"a\".replace(\"\", \"b\")",
        "comet.getASOKey(6)",
        "comet.getASOKey(-1)",
        "comet.getASOKey(\"a\")",
        "comet.sha256(1)",
        "comet.verify(1)",
        "comet.reply(1, 2)",
        "comet.nothing()",
        "comet.x",
        "comet.x = 1",
        "Fn(\"\")",
        "Fn(\"nothing\").call()",
        "[1].sort(|x| 1)",
        "[1, 2].sort(|x, y| \"a\")",
        "1.0e300.to_int()",
        "let f = 5; f.call()",
        "this.value.value.value",
        "x",
        "1.len()",
    ] {
        assert!(matches!(bench.reply(body), Ok(_) | Err(Failure::Error(_))), "{body}: {:?}", bench.reply(body));
        assert_eq!(bench.reply(&format!("try {{ {body} }} catch (e) {{ e.message; }} 7")), Ok(Value::Int(7)), "{body}");
    }
}

#[test]
fn every_function_stands_every_argument() {
    let bench = Bench::new();
    let values = [
        "()",
        "true",
        "0",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "1e308",
        "0.0/0.0",
        "\"\"",
        "\"äöü\"",
        "'ß'",
        "[]",
        "[1, [2]]",
        "#{}",
        "#{ a: 1 }",
        "to_blob(\"ab\")",
        "|x| x",
        "0..9223372036854775807",
        "comet",
        "comet.later()",
        "s",
    ];
    for signature in bench.sandbox.functions() {
        let (name, parameters) = signature.split_once('(').expect("a signature");
        if !name.starts_with(char::is_alphabetic) || name.contains('$') || name == "Fn" || signature.contains("f32") {
            continue;
        }
        let count =
            if parameters.starts_with(')') { 0 } else { parameters.split(')').next().unwrap().split(',').count() };
        // Each value at each place, the other places filled with each value in turn.
        for (shift, _) in values.iter().enumerate() {
            let arguments: Vec<&str> = (0..count).map(|place| values[(shift + place * 5) % values.len()]).collect();
            let filled: Vec<&str> =
                (0..count).map(|place| if place == 0 { "s" } else { values[(shift + place) % values.len()] }).collect();
            for arguments in [arguments.join(", "), filled.join(", ")] {
                let outcome = bench.reply(&format!(
                    "let s = \"x\"; s.pad(20000, \"y\"); try {{ {name}({arguments}) }} catch {{ }}; 1"
                ));
                assert!(!matches!(outcome, Err(Failure::Panicked(_))), "{name}({arguments}): {outcome:?}");
            }
        }
    }
}

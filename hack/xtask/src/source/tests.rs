#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;

fn blanked(text: &str) -> String {
    Source::new(text).code
}

#[test]
fn comments_and_literals_are_blanked_and_nothing_moves() {
    let cases = [
        ("a // b { \nc", "a        \nc"),
        ("a /* { /* } */ x */ b", "a                   b"),
        (r#"let s = "fn {\" }"; x"#, r"let s =           ; x"),
        (r##"r#"a "quoted" {"# z"##, "                  z"),
        (r"let c = '{'; d", r"let c =    ; d"),
        (r"let c = '\''; d", r"let c =     ; d"),
        (r"let c = '\u{1f}'; d", r"let c =         ; d"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("let c = 'ü'; d", "let c =     ; d"),
        ("br\"{\" x", "b     x"),
        ("for r in x {}", "for r in x {}"),
    ];
    for (text, expected) in cases {
        assert_eq!(blanked(text), expected, "{text}");
        assert_eq!(blanked(text).len(), text.len(), "{text}");
    }
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let source = Source::new(
        "fn one() { }\n\
         pub async fn two<F: Fn(u8) -> u8>(\n  a: [u8; 3],\n) -> u8\nwhere F: Copy {\n  let x = |y| { y };\n  \"}\";\n}\n\
         trait T { fn none(&self); fn some(&self) {\n } }\n\
         type P = fn(u8) -> u8;\n",
    );
    let found: Vec<_> = source
        .functions()
        .into_iter()
        .map(|f| (f.name, f.first_line, f.lines))
        .collect();
    let expected = [("one", 1, 1), ("two", 2, 7), ("some", 9, 2)];
    let expected = expected.map(|(name, line, lines)| (name.to_owned(), line, lines));
    assert_eq!(found, expected);
}

#[test]
fn test_code_is_not_production() {
    let source = Source::new(
        "fn real() {\n}\n\n#[cfg(test)]\nmod tests {\n  #[test]\n  fn t() {}\n}\nfn after() {}\n",
    );
    assert_eq!(source.production_lines(), 3);
    assert!(source.is_test_line(4) && source.is_test_line(8) && !source.is_test_line(9));
    let sibling = Source::new("fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n");
    assert!(
        !sibling.is_test_line(4),
        "a module in another file covers no lines of this one"
    );
}

#[test]
fn words_are_whole() {
    let source = Source::new("Instant::now(); MyInstant::now(); Instant::nowhere(); tokio::x");
    assert_eq!(source.find("Instant::now").len(), 1);
    assert_eq!(source.find("tokio::").len(), 1);
}

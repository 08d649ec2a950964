//! The embedded pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::common::Harness;

#[tokio::test]
async fn the_page_and_its_files_are_served() {
    let server = Harness::with(|config| config.pages = true).await;
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let mut types = BTreeSet::new();
    for entry in fs::read_dir(web).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = match name.as_str() {
            "index.html" => "/".to_owned(),
            name => format!("/assets/{name}"),
        };
        let got = server.get(&path, &[]).await;
        assert_eq!(got.status, 200, "{name} is in web/ but not embedded");
        assert_eq!(got.body, fs::read(entry.path()).unwrap());
        assert!(
            got.header("content-security-policy")
                .starts_with("default-src 'self';")
        );
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        assert_eq!(got.header("cache-control"), "no-cache");
        types.insert(got.header("content-type").to_owned());

        let known = format!("\"other\", W/{}", got.header("etag"));
        let again = server.get(&path, &[("If-None-Match", &known)]).await;
        assert_eq!(
            (again.status, again.header("etag")),
            (304, got.header("etag"))
        );
        assert_eq!(server.request("HEAD", &path, &[], b"").await.status, 200);
        server
            .request("PUT", &path, &[], b"")
            .await
            .problem(405, "method");
    }
    let types: Vec<_> = types.iter().map(String::as_str).collect();
    assert_eq!(
        types,
        [
            "image/svg+xml",
            "text/css; charset=utf-8",
            "text/html; charset=utf-8",
            "text/javascript; charset=utf-8"
        ]
    );
    server
        .get("/assets/none.js", &[])
        .await
        .problem(404, "not-found");
    server
        .get("/assets/../index.html", &[])
        .await
        .problem(404, "not-found");
}

#[tokio::test]
async fn without_pages_the_root_says_what_this_is() {
    let server = Harness::start().await;
    let got = server.get("/", &[]).await;
    assert_eq!(
        (got.status, got.header("content-type")),
        (200, "text/plain; charset=utf-8")
    );
    for form in [
        "/channels/NAME",
        "If-None-Match",
        "Prefer: wait",
        "?since=",
        "openline.v1",
    ] {
        assert!(got.text().contains(form), "{form}");
    }
    server
        .get("/assets/app.js", &[])
        .await
        .problem(404, "not-found");
}

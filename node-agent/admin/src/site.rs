//! A site: a few paths, each answered by a closure.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;

use bytes::Bytes;
use hyper::Method;

/// What a path answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Plain text.
    #[must_use]
    pub fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }

    /// A JSON document.
    #[must_use]
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self {
            status: 200,
            content_type: "application/json",
            body: body.into(),
        }
    }
}

/// An answer that may take a while.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

type Handler = Box<dyn Fn(&str) -> Answering + Send + Sync>;

struct Page {
    method: Method,
    path: &'static str,
    help: &'static str,
    handler: Handler,
}

/// A set of pages. Every site has an index at `/` unless it says otherwise.
pub struct Site {
    title: &'static str,
    pages: Vec<Page>,
}

impl Site {
    /// A site with only an index.
    #[must_use]
    pub fn new(title: &'static str) -> Self {
        Self {
            title,
            pages: Vec::new(),
        }
    }

    /// Adds a page that is read; the closure is given the query.
    #[must_use]
    pub fn get(
        self,
        path: &'static str,
        help: &'static str,
        handler: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.with(Method::GET, path, help, at_once(handler))
    }

    /// Adds a page that is read and whose answer takes a while; the closure is given the query.
    #[must_use]
    pub fn get_later(
        self,
        path: &'static str,
        help: &'static str,
        handler: impl Fn(&str) -> Answering + Send + Sync + 'static,
    ) -> Self {
        self.with(Method::GET, path, help, Box::new(handler))
    }

    /// Adds a page that changes something; the closure is given the query.
    #[must_use]
    pub fn post(
        self,
        path: &'static str,
        help: &'static str,
        handler: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.with(Method::POST, path, help, at_once(handler))
    }

    /// The answer to a request.
    #[must_use]
    pub fn answer(&self, method: &Method, path: &str, query: &str) -> Answering {
        // HEAD is GET whose body the server leaves out.
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let mut path_known = false;
        for page in self.pages.iter().filter(|page| page.path == path) {
            if page.method == *method {
                return (page.handler)(query);
            }
            path_known = true;
        }
        let answer = match (path, path_known) {
            (_, true) => Answer::text(405, "method not allowed\n"),
            ("/", false) if method == Method::GET => self.index(),
            _ => Answer::text(404, "no such page; see /\n"),
        };
        Box::pin(ready(answer))
    }

    fn with(
        mut self,
        method: Method,
        path: &'static str,
        help: &'static str,
        handler: Handler,
    ) -> Self {
        self.pages.push(Page {
            method,
            path,
            help,
            handler,
        });
        self
    }

    fn index(&self) -> Answer {
        let rows: String = self
            .pages
            .iter()
            .map(|page| {
                let Page { method, path, help, .. } = page;
                if *method == Method::GET {
                    format!("<tr><td>{method}</td><td><a href=\"{path}\">{path}</a></td><td>{help}</td></tr>\n")
                } else {
                    format!("<tr><td>{method}</td><td>{path}</td><td>{help}</td></tr>\n")
                }
            })
            .collect();
        let title = self.title;
        let body = format!(
            "<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n<table>\n{rows}</table>\n"
        );
        Answer {
            status: 200,
            content_type: "text/html; charset=utf-8",
            body: body.into(),
        }
    }
}

fn at_once(handler: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Handler {
    Box::new(move |query| Box::pin(ready(handler(query))))
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

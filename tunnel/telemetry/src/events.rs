//! Ordinary `tracing` events in the shape of the access log, through the same writer.

use std::fmt::{Debug, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::Telemetry;
use crate::access::with_line;
use crate::format::LogFormat;
use crate::text::{Escaping, Quotes, push_number, push_quoted};
use crate::writer::Urgency;

/// Formats events and hands them on. Combine it with a filter of your choice.
pub struct EventLayer {
    format: LogFormat,
    sink: Sink,
}

/// Where the lines go.
enum Sink {
    /// To the log writer.
    Writer(Telemetry),
    /// To a function, on the thread of the event.
    Direct(fn(&str)),
}

impl EventLayer {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self {
            format: telemetry.shared().format,
            sink: Sink::Writer(telemetry),
        }
    }

    /// Hands each line, its end included, to `write` at once: for a process that has no thread to
    /// spare for a log and little to say.
    #[must_use]
    pub fn direct(format: LogFormat, write: fn(&str)) -> Self {
        Self {
            format,
            sink: Sink::Direct(write),
        }
    }
}

/// The fields of a span, rendered when they were recorded.
struct SpanFields(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for EventLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut text = String::new();
        attributes.record(&mut Fields {
            out: &mut text,
            format: self.format,
            part: Part::Span,
        });
        span.extensions_mut().insert(SpanFields(text));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(SpanFields(text)) = extensions.get_mut() {
            values.record(&mut Fields {
                out: text,
                format: self.format,
                part: Part::Span,
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let format = self.format;
        let metadata = event.metadata();
        with_line(|line| {
            format.begin(
                line,
                SystemTime::now(),
                *metadata.level(),
                metadata.target(),
            );
            if format == LogFormat::Plain {
                push_spans(line, format, event, &context);
            }
            push_message(line, format, event);
            event.record(&mut Fields {
                out: line,
                format,
                part: Part::Event,
            });
            if format == LogFormat::Json {
                push_spans(line, format, event, &context);
            }
            format.end(line);
            let error = *metadata.level() == Level::ERROR;
            let urgency = if error {
                Urgency::Now
            } else {
                Urgency::Batched
            };
            match &self.sink {
                Sink::Writer(telemetry) => telemetry.shared().queue.push(line, urgency),
                Sink::Direct(write) => write(line),
            }
        });
    }
}

fn push_message(line: &mut String, format: LogFormat, event: &Event<'_>) {
    match format {
        LogFormat::Plain => {
            line.push('\t');
            event.record(&mut Fields {
                out: line,
                format,
                part: Part::Message,
            });
            line.push('\t');
        }
        LogFormat::Json => event.record(&mut Fields {
            out: line,
            format,
            part: Part::Message,
        }),
    }
}

/// Plain: `:outer{k=v}:inner{k=v}` behind the target. JSON: an object under each span's name.
fn push_spans<S: Subscriber + for<'a> LookupSpan<'a>>(
    line: &mut String,
    format: LogFormat,
    event: &Event<'_>,
    context: &Context<'_, S>,
) {
    let Some(scope) = context.event_scope(event) else {
        return;
    };
    for span in scope.from_root() {
        let extensions = span.extensions();
        let fields = extensions
            .get()
            .map_or("", |SpanFields(text)| text.as_str());
        match format {
            LogFormat::Plain => {
                line.push(':');
                line.push_str(span.name());
                line.push('{');
                line.push_str(fields);
                line.push('}');
            }
            LogFormat::Json => {
                format.push_key(line, span.name());
                line.push('{');
                line.push_str(fields.strip_prefix(',').unwrap_or(fields));
                line.push('}');
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Only the field called `message`.
    Message,
    /// Every other field.
    Event,
    /// Every field.
    Span,
}

struct Fields<'a> {
    out: &'a mut String,
    format: LogFormat,
    part: Part,
}

impl Fields<'_> {
    /// Begins the field if it belongs to the part being written.
    fn begin(&mut self, field: &Field) -> bool {
        let is_message = field.name() == "message";
        match self.part {
            Part::Message if !is_message => return false,
            Part::Event if is_message => return false,
            // Plain messages stand by themselves between two tabs.
            Part::Message if self.format == LogFormat::Plain => return true,
            Part::Message | Part::Event | Part::Span => {}
        }
        self.format.push_key(self.out, field.name());
        true
    }

    fn literal(&mut self, field: &Field, value: impl std::fmt::Display) {
        if self.begin(field) {
            // Writing into a String cannot fail.
            let _ = write!(self.out, "{value}");
        }
    }
}

impl Visit for Fields<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if self.begin(field) {
            push_number(self.out, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.literal(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.literal(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.literal(field, value);
        } else {
            // JSON has no word for it.
            self.record_debug(field, &value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.part == Part::Message && self.format == LogFormat::Plain {
            self.record_debug(field, &format_args!("{value}"));
        } else if self.begin(field) {
            push_quoted(self.out, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !self.begin(field) {
            return;
        }
        // Writing into a String cannot fail.
        match self.format {
            LogFormat::Plain => {
                let _ = write!(Escaping::new(self.out, Quotes::Keep), "{value:?}");
            }
            LogFormat::Json => {
                self.out.push('"');
                let _ = write!(Escaping::new(self.out, Quotes::Escape), "{value:?}");
                self.out.push('"');
            }
        }
    }
}

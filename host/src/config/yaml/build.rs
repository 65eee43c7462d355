//! From the parser's events to the tree, within bounds and without recursion.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::super::fault::{Faults, Position, quote};
use super::{Data, Key, MAX_DEPTH, MAX_NODES, Node, Scalar};

/// Parses one document; nothing when it has a fault that leaves no tree. An empty file is an empty mapping.
pub(in crate::config) fn parse(text: &str, faults: &mut Faults) -> Option<Node> {
    let mut parser = Parser::new_from_str(text);
    let mut tree = Tree { faults, frames: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = position(error.marker());
                tree.faults.add(at, String::new(), format!("not YAML: {}", error.info()), None);
                return None;
            }
        };
        let at = position(&span.start);
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                tree.faults.add(
                    at,
                    String::new(),
                    "a second document starts here",
                    Some("one file holds one".into()),
                );
                return None;
            }
        }
        tree.event(event, span)?;
    }
    Some(tree.root.unwrap_or(Node { at: Position::START, data: Data::Map(Vec::new()) }))
}

fn position(marker: &saphyr_parser::Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

struct Tree<'f> {
    faults: &'f mut Faults,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

/// A collection that is still open.
struct Frame {
    at: Position,
    anchor: usize,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, seen: HashMap<String, Position>, key: Next },
}

/// What a mapping takes next.
enum Next {
    Key,
    Value(Key),
    /// The value of a key that was refused.
    Nothing,
}

struct Anchored {
    node: Node,
    size: usize,
    height: usize,
}

impl Tree<'_> {
    /// Takes one event; nothing when the tree cannot go on.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = position(&span.start);
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Some(()),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(at, 1)?;
                let scalar = self.scalar(at, &text, style, tag.as_deref());
                self.place(Node { at, data: Data::Scalar(text.into_owned(), scalar) }, anchor);
                Some(())
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(at, tag.as_deref(), "seq");
                self.open(Frame { at, anchor, open: Open::List(Vec::new()) })
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(at, tag.as_deref(), "map");
                let open = Open::Map { entries: Vec::new(), seen: HashMap::new(), key: Next::Key };
                self.open(Frame { at, anchor, open })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Frame { at, anchor, open } = self.frames.pop()?;
                let data = match open {
                    Open::List(items) => Data::List(items),
                    Open::Map { entries, .. } => Data::Map(entries),
                };
                self.place(Node { at, data }, anchor);
                Some(())
            }
            Event::Alias(anchor) => self.alias(at, anchor),
        }
    }

    fn alias(&mut self, at: Position, anchor: usize) -> Option<()> {
        let Some(Anchored { node, size, height }) = self.anchors.get(&anchor) else {
            self.faults.add(at, String::new(), "an alias inside what it stands for", None);
            return None;
        };
        let (node, size, height) = (node.clone(), *size, *height);
        if self.frames.len() + height > MAX_DEPTH {
            return self.too_deep(at);
        }
        self.count(at, size)?;
        self.place(node, 0);
        Some(())
    }

    fn open(&mut self, frame: Frame) -> Option<()> {
        if self.frames.len() == MAX_DEPTH {
            return self.too_deep(frame.at);
        }
        self.count(frame.at, 1)?;
        self.frames.push(frame);
        Some(())
    }

    fn too_deep(&mut self, at: Position) -> Option<()> {
        self.faults.add(at, String::new(), format!("nested deeper than {MAX_DEPTH} levels"), None);
        None
    }

    fn count(&mut self, at: Position, nodes: usize) -> Option<()> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            self.faults.add(
                at,
                String::new(),
                format!("more than {MAX_NODES} values, aliases expanded"),
                None,
            );
            return None;
        }
        Some(())
    }

    fn place(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            let (size, height) = measure(&node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), size, height });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut frame.open {
            Open::List(items) => items.push(node),
            Open::Map { entries, seen, key } => match std::mem::replace(key, Next::Key) {
                Next::Value(key) => entries.push((key, node)),
                Next::Nothing => {}
                Next::Key => *key = next_key(self.faults, seen, node),
            },
        }
    }

    fn scalar(&mut self, at: Position, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Scalar {
        let Some(tag) = tag else {
            return if style == ScalarStyle::Plain { Scalar::resolve(text) } else { Scalar::Text };
        };
        let resolved = Scalar::resolve(text);
        let fits = match (tag.is_yaml_core_schema(), tag.suffix.as_str(), resolved) {
            (true, "str", _) => return Scalar::Text,
            (true, "null", Scalar::Null)
            | (true, "bool", Scalar::Bool(_))
            | (true, "int", Scalar::Int(_)) => true,
            (true, "float", Scalar::Float(_) | Scalar::Int(_)) => true,
            _ => false,
        };
        if !fits {
            let problem = format!("the tag {} is not known or does not fit", quote(&tag.to_string()));
            self.faults.add(at, String::new(), problem, Some("leave tags out".into()));
        }
        resolved
    }

    fn tag(&mut self, at: Position, tag: Option<&Tag>, own: &str) {
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == own)) {
            let problem = format!("the tag {} is not known or does not fit", quote(&tag.to_string()));
            self.faults.add(at, String::new(), problem, Some("leave tags out".into()));
        }
    }
}

fn next_key(faults: &mut Faults, seen: &mut HashMap<String, Position>, node: Node) -> Next {
    let (at, kind) = (node.at, node.kind());
    let Data::Scalar(text, _) = node.data else {
        faults.add(at, String::new(), format!("a key must be text, not {kind}"), None);
        return Next::Nothing;
    };
    if let Some(first) = seen.get(&text) {
        let hint = format!("it is first given in line {}", first.line);
        faults.add(at, String::new(), format!("duplicate key {}", quote(&text)), Some(hint));
        return Next::Nothing;
    }
    seen.insert(text.clone(), at);
    Next::Value(Key { at, text })
}

/// Nodes in a tree, and its height. Recurses no deeper than [`MAX_DEPTH`], which bounds every placed tree.
fn measure(node: &Node) -> (usize, usize) {
    let fold = |(size, height): (usize, usize), child: &Node| {
        let (child_size, child_height) = measure(child);
        (size + child_size, height.max(child_height + 1))
    };
    match &node.data {
        Data::Scalar(..) => (1, 0),
        Data::List(items) => items.iter().fold((1, 1), fold),
        Data::Map(entries) => entries.iter().map(|(_, value)| value).fold((1, 1), fold),
    }
}

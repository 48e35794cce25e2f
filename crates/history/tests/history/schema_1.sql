-- A file of schema 1, with one conversation: what later versions have to read.
CREATE TABLE owners(
    owner TEXT PRIMARY KEY,
    conversations INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE conversations(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    title TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    folder TEXT,
    settings TEXT NOT NULL,
    draft TEXT NOT NULL,
    leaf INTEGER,
    message_count INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX conversations_by_time ON conversations(owner, pinned DESC, updated_at DESC, number DESC);
CREATE INDEX conversations_by_folder ON conversations(owner, folder);
CREATE TABLE messages(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    conversation INTEGER NOT NULL REFERENCES conversations(number) ON DELETE CASCADE,
    parent INTEGER REFERENCES messages(number) DEFERRABLE INITIALLY DEFERRED,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    reasoning TEXT,
    tool_calls TEXT,
    tool_call_id TEXT,
    model TEXT,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    finish_reason TEXT,
    usage TEXT,
    timings TEXT,
    settings TEXT,
    has_logprobs INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL
);
CREATE INDEX messages_by_conversation ON messages(conversation, number);
CREATE INDEX messages_by_parent ON messages(parent);
CREATE INDEX messages_running ON messages(number) WHERE state = 'running';
CREATE TABLE details(
    message INTEGER PRIMARY KEY REFERENCES messages(number) ON DELETE CASCADE,
    logprobs TEXT,
    request TEXT
);
CREATE TRIGGER conversation_added AFTER INSERT ON conversations BEGIN
    INSERT INTO owners(owner, conversations, bytes) VALUES(NEW.owner, 1, NEW.bytes)
        ON CONFLICT(owner) DO UPDATE
        SET conversations = conversations + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER conversation_changed AFTER UPDATE OF bytes ON conversations BEGIN
    UPDATE owners SET bytes = bytes + NEW.bytes - OLD.bytes WHERE owner = NEW.owner;
END;
CREATE TRIGGER conversation_deleted AFTER DELETE ON conversations BEGIN
    UPDATE owners SET conversations = conversations - 1, bytes = bytes - OLD.bytes
        WHERE owner = OLD.owner;
    DELETE FROM owners WHERE owner = OLD.owner AND conversations = 0;
END;
CREATE TRIGGER message_added AFTER INSERT ON messages BEGIN
    UPDATE conversations SET message_count = message_count + 1, bytes = bytes + NEW.bytes
        WHERE number = NEW.conversation;
END;
CREATE TRIGGER message_changed AFTER UPDATE OF bytes ON messages BEGIN
    UPDATE conversations SET bytes = bytes + NEW.bytes - OLD.bytes WHERE number = NEW.conversation;
END;
CREATE TRIGGER message_deleted AFTER DELETE ON messages BEGIN
    UPDATE conversations SET message_count = message_count - 1, bytes = bytes - OLD.bytes
        WHERE number = OLD.conversation;
END;
INSERT INTO conversations(number, id, owner, title, created_at, updated_at, pinned, folder, settings, draft, leaf, bytes)
    VALUES(1, 'conv_00000000000000000000000000000001', 'old', 'Anderswo', 5, 6, 1, 'reisen', '{"theme":"dark"}', 'und', 2, 300);
INSERT INTO messages(number, id, conversation, parent, role, content, created_at, state, has_logprobs, bytes) VALUES
    (1, 'msg_00000000000000000000000000000001', 1, NULL, 'user', '"Wie war es früher?"', 5, 'done', 0, 280),
    (2, 'msg_00000000000000000000000000000002', 1, 1, 'assistant', '[{"type":"text","text":"Anders."}]', 6, 'done', 1, 310),
    (3, 'msg_00000000000000000000000000000003', 1, 2, 'assistant', '"halb"', 6, 'running', 0, 262);
INSERT INTO details(message, logprobs) VALUES(2, '{"content":[]}');
PRAGMA application_id = 1835103343;
PRAGMA user_version = 1;

// Follows a turn to its end as an application would, with whatever implements EventSource or WebSocket.

const EVENTS = {
  stream: { piece: 'token', textOf: (data) => data, others: [], ends: ['done', 'error'] },
  events: {
    piece: 'delta',
    textOf: (data) => JSON.parse(data).text,
    others: ['started', 'guarded', 'usage', 'notice'],
    ends: ['ended'],
  },
};

// An EventSource comes back by itself, also after the end; what it hears then is to leave it CLOSED.
export function readEvents(EventSource, form, address) {
  const { piece, textOf, others, ends } = EVENTS[form];
  return new Promise((resolve) => {
    const heard = { text: '', ids: [], ended: '', last: '', connections: 0 };
    const source = new EventSource(address);
    source.onopen = () => (heard.connections += 1);
    const hear = ({ type, data, lastEventId }) => {
      if (data === undefined) return; // its own `error`, not one of the turn
      heard.ids.push(lastEventId);
      if (type === piece) heard.text += textOf(data);
      if (ends.includes(type)) [heard.ended, heard.last] = [type, data];
    };
    for (const type of [piece, ...others, ...ends]) source.addEventListener(type, hear);
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) resolve(heard);
    };
  });
}

// The turn's own WebSocket: the address says from where.
function followTurn(address) {
  return {
    address: (after) => `${address}&after=${after}`,
    hello: () => null,
    hear(message, heard) {
      heard.ids.push(message.id);
      if (message.type === 'delta') heard.text += message.text;
      if (message.type === 'ended') heard.ended = message.outcome;
    },
  };
}

// `/ws`: the first socket asks, the others say what they go on with.
function ask(address, prompt) {
  let turnId = null;
  return {
    address: () => address,
    hello: (after) =>
      turnId === null
        ? { type: 'init', payload: { messages: [{ role: 'user', content: prompt }] } }
        : { type: 'resume', turnId, after },
    hear(message, heard) {
      if (message.type === 'handshake_ack') turnId = message.turnId;
      else if (message.type !== 'chunk') heard.ended = message.type;
      else if (message.id !== undefined) {
        heard.ids.push(message.id);
        heard.text += message.data.choices.map(({ delta }) => delta.content ?? '').join('');
      }
    },
  };
}

const SOCKETS = { ws: followTurn, proxy: ask };

// A WebSocket does not come back: the application opens another one.
export async function readSocket(WebSocket, form, address, prompt) {
  const heard = { text: '', ids: [], ended: '', last: '', connections: 0 };
  const talk = SOCKETS[form](address, prompt);
  while (heard.ended === '') {
    await new Promise((resolve) => {
      const after = heard.ids.at(-1) ?? 0;
      const socket = new WebSocket(talk.address(after));
      socket.onopen = () => {
        heard.connections += 1;
        const hello = talk.hello(after);
        if (hello !== null) socket.send(JSON.stringify(hello));
      };
      socket.onmessage = ({ data }) => {
        talk.hear(JSON.parse(data), heard);
        if (heard.ended !== '') socket.close();
      };
      socket.onerror = () => {}; // a close follows
      socket.onclose = resolve;
    });
  }
  return heard;
}

// Each line of standard input, [number, form, address, prompt], is a turn to follow with npm's eventsource or ws; when its
// end is reached, [number, what was heard] goes out as a line of JSON.
import { createInterface } from 'node:readline';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { readEvents, readSocket } from './reading.mjs';

for await (const line of createInterface({ input: process.stdin })) {
  const [number, form, address, prompt] = JSON.parse(line);
  const reading = address.startsWith('ws:')
    ? readSocket(WebSocket, form, address, prompt)
    : readEvents(EventSource, form, address);
  reading.then((heard) => console.log(JSON.stringify([number, heard])));
}

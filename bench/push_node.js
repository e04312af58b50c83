// A push gateway as the specification's Section 12 designs it, to compare ours with: express, express-rate-limit, node-apn and
// firebase-admin. It is for the bench only: no checks beyond the secret, one fixed access token, and firebase-admin's connections
// lead to the bench's fake in place of Google.
const { readFileSync } = require("node:fs");
const { Agent } = require("node:https");
const apn = require("@parse/node-apn");
const express = require("express");
const firebase = require("firebase-admin");
const { rateLimit } = require("express-rate-limit");

const env = process.env;
const log = (...words) => console.log("[INFO]", new Date().toISOString(), ...words);
const provider = new apn.Provider({
  token: { key: readFileSync(env.APNS_KEY_PATH), keyId: env.APNS_KEY_ID, teamId: env.APNS_TEAM_ID },
  address: "localhost", port: Number(env.APNS_PORT), ca: [readFileSync(env.CA)], production: false,
});
class ToTheFake extends Agent {
  createConnection(options, done) {
    const fake = { host: "localhost", servername: "localhost", port: Number(env.FCM_PORT), ca: readFileSync(env.CA) };
    return super.createConnection({ ...options, ...fake }, done);
  }
}
firebase.initializeApp({
  credential: { getAccessToken: async () => ({ access_token: "bench", expires_in: 3600 }) },
  projectId: "bench", httpAgent: new ToTheFake({ keepAlive: true }),
});
const counts = { sent: 0, failed: 0 };

function call(node) {
  const push = new apn.Notification();
  push.topic = `${env.APNS_BUNDLE_ID}.voip`;
  push.pushType = "voip";
  push.priority = 10;
  push.expiry = Math.floor(Date.now() / 1000) + 30;
  push.payload = { type: "incoming-call" };
  return provider.send(push, node).then((result) => result.failed.length === 0);
}

function message(node) {
  return firebase.messaging().send({ token: node, data: { type: "new-message" }, android: { priority: "high", ttl: 60000 } })
    .then(() => true, (error) => { console.error(error.message); return false; });
}

const app = express();
app.use(express.json());
app.use(rateLimit({ windowMs: 1000, limit: 1e9 }));
app.post("/push", async (request, response) => {
  const { node, secret, type } = request.body;
  if (secret !== env.PUSH_SECRET) return response.status(403).send("Forbidden");
  const sent = await (type === "call" ? call(node) : message(node));
  counts[sent ? "sent" : "failed"] += 1;
  log("push", { token: node.slice(-6), type, sent });
  response.send("OK");
});
app.get("/failed", (_, response) => response.send(String(counts.failed)));
app.listen(Number(env.PORT), "127.0.0.1");

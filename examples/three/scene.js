// The head in its light: three.js and nothing of lipstream.

import * as THREE from "three";
import { RoomEnvironment } from "three/addons/environments/RoomEnvironment.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

const FACE_M = 0.018; // height of what is looked at, over the head's origin
const BLINK_MS = 190;

export class Scene {
  #renderer;
  #camera = new THREE.PerspectiveCamera(24, 1, 0.1, 5);
  #scene = new THREE.Scene();
  #head = null;
  #eyes = [];
  #meshes = [];
  #life = new Life();

  /** `canvas` is drawn into, clear where there is no head. */
  constructor(canvas) {
    this.#renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.#renderer.toneMapping = THREE.ACESFilmicToneMapping;
    this.#renderer.toneMappingExposure = 1.05;
    this.#renderer.shadowMap.enabled = true;
    this.#renderer.shadowMap.type = THREE.PCFShadowMap;
    this.#light();
    this.fit();
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  async load(url) {
    const { scene: head } = await new GLTFLoader().loadAsync(url);
    head.traverse((part) => {
      if (!part.isMesh) return;
      part.frustumCulled = false; // units move it out of the box that it has at rest
      part.castShadow = part.name === "skin";
      part.receiveShadow = part.name !== "lashes";
      if (part.morphTargetDictionary && !part.name.startsWith("hair")) this.#meshes.push(part);
      if (part.name.startsWith("eye")) this.#eyes.push(part);
    });
    this.#head = head;
    this.#scene.add(head);
  }

  /** How far each unit moves the head now, by name. */
  get units() {
    const all = this.#meshes.flatMap((mesh) =>
      Object.entries(mesh.morphTargetDictionary).map(([name, at]) => [name, mesh.morphTargetInfluences[at]]),
    );
    return Object.fromEntries(all);
  }

  /** Draw the head with its units (those not named are 0) at a time in milliseconds. */
  draw(units, now) {
    const alive = { ...this.#life.units(now), ...units };
    for (const { morphTargetDictionary, morphTargetInfluences } of this.#meshes)
      for (const [name, at] of Object.entries(morphTargetDictionary)) morphTargetInfluences[at] = alive[name] ?? 0;
    if (this.#head) {
      const { nod, turn, tilt } = this.#life.pose(now, units.jawOpen ?? 0);
      this.#head.rotation.set(nod, turn, tilt);
    }
    this.#renderer.render(this.#scene, this.#camera);
  }

  fit() {
    const { clientWidth, clientHeight } = this.#renderer.domElement;
    if (!clientWidth || !clientHeight) return;
    this.#renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.#renderer.setSize(clientWidth, clientHeight, false);
    this.#camera.aspect = clientWidth / clientHeight;
    const far = 0.8 / Math.min(1, this.#camera.aspect * 1.25);
    this.#camera.position.set(0, FACE_M, far);
    this.#camera.lookAt(0, FACE_M, 0);
    this.#camera.updateProjectionMatrix();
  }

  /** One large soft light from above, one that fills, one on the hair; the rest is a room's. */
  #light() {
    const maker = new THREE.PMREMGenerator(this.#renderer);
    this.#scene.environment = maker.fromScene(new RoomEnvironment(), 0.04).texture;
    this.#scene.environmentIntensity = 0.42;
    maker.dispose();
    const lamp = (colour, power, x, y, z) => {
      const light = new THREE.DirectionalLight(colour, power);
      light.position.set(x, y, z);
      this.#scene.add(light);
      return light;
    };
    this.#shade(lamp(0xfff0e2, 2.3, 0.55, 0.75, 1.0));
    lamp(0xc8dcff, 0.55, -1.0, 0.25, 0.7);
    this.#shade(lamp(0xdfe8ff, 1.4, -0.7, 0.8, -1.0));
  }

  #shade(light) {
    light.castShadow = true;
    light.shadow.mapSize.set(1024, 1024);
    Object.assign(light.shadow.camera, { left: -0.2, right: 0.2, top: 0.2, bottom: -0.2, near: 0.6, far: 2.2 });
    light.shadow.bias = -0.0006;
    light.shadow.normalBias = 0.004;
    light.shadow.radius = 5;
  }
}

/** What a person does who only listens: blinks, and holds the head never quite still. */
class Life {
  #blinkAt = 1500;

  units(now) {
    if (now > this.#blinkAt + BLINK_MS) this.#blinkAt = now + 1800 + 3600 * Math.random();
    const at = (now - this.#blinkAt) / BLINK_MS;
    const closed = at < 0 ? 0 : Math.sin(Math.PI * Math.sqrt(at)) ** 2;
    return { eyeBlinkLeft: closed, eyeBlinkRight: closed };
  }

  pose(now, jaw) {
    const wave = (seconds, phase) => Math.sin((now / 1000 / seconds) * 2 * Math.PI + phase);
    return {
      nod: 0.014 * wave(5.1, 0) + 0.010 * wave(2.3, 1) + 0.05 * jaw,
      turn: 0.030 * wave(7.3, 2) + 0.012 * wave(3.1, 0.5),
      tilt: 0.012 * wave(6.1, 4),
    };
  }
}
